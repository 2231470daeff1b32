#include "cli/call_list.h"

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "base/call_id.h"
#include "base/error.h"
#include "cli/payload_file.h"
#include "cli/report.h"

namespace mayfly::cli {
namespace {

constexpr size_t kPieceBytes = 64 << 10;
// Enough for more than a million ids.
constexpr size_t kFileBytesMax = 64 << 20;

absl::StatusOr<std::string> ReadAll(client::PayloadSource* source) {
  std::string text;
  while (text.size() <= kFileBytesMax) {
    const size_t before = text.size();
    text.resize(before + kPieceBytes);
    const absl::StatusOr<size_t> count = source->ReadAt(before, text.data() + before, kPieceBytes);
    RETURN_IF_ERROR(count.status());
    text.resize(before + *count);
    if (*count == 0) return text;
  }
  return absl::InvalidArgumentError(absl::StrCat("more than ", kFileBytesMax, " bytes, the limit"));
}

absl::Status ReadError(const absl::Status& status) {
  return Reworded(status, absl::StrCat("the list of calls: ", status.message()));
}

// Of a line, in an error.
constexpr size_t kShownBytesMax = 80;

absl::Status LineError(const std::string& path, size_t number, absl::string_view line) {
  return absl::InvalidArgumentError(
      absl::StrCat("--all ", path == "-" ? "-, stdin" : path, ": line ", number,
                   " is no call id: ", absl::Utf8SafeCEscape(line.substr(0, kShownBytesMax)),
                   line.size() > kShownBytesMax ? "..." : ""));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ReadCallList(const std::string& path, int standard_input,
                                                      const Interruption* interruption) {
  const auto source = OpenPayload(path, standard_input, interruption);
  if (!source.ok()) return ReadError(source.status());
  const absl::StatusOr<std::string> text = ReadAll(source->get());
  if (!text.ok()) return ReadError(text.status());
  std::vector<std::string> call_ids;
  absl::flat_hash_set<std::string> seen;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line[0] == '#') continue;
    // Behind the id stands the file, if put-input --all has written the list.
    const absl::StatusOr<CallId> id = CallId::Parse(line.substr(0, line.find_first_of(" \t")));
    if (!id.ok()) return LineError(path, number, line);
    if (seen.insert(id->ToString()).second) call_ids.push_back(id->ToString());
  }
  return call_ids;
}

}  // namespace mayfly::cli
