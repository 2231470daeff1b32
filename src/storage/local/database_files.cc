#include "storage/local/database_files.h"

#include <algorithm>
#include <errno.h>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

#include "base/error.h"

namespace mayfly {
namespace {

constexpr absl::string_view kManifestPrefix = "MANIFEST-";
constexpr absl::string_view kLogSuffix = ".log";
// Of RocksDB's log format.
constexpr size_t kLogBlockBytes = 32 << 10;
constexpr size_t kLogHeaderBytes = 7;

std::optional<uint64_t> FileNumber(absl::string_view digits) {
  uint64_t number = 0;
  if (digits.empty() || !std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(digits, &number)) {
    return std::nullopt;
  }
  return number;
}

std::string LogName(uint64_t number) { return absl::StrFormat("%06u%s", number, kLogSuffix); }

absl::Status Unreadable(absl::string_view name, const std::error_code& error) {
  return absl::UnavailableError(
      absl::StrCat("the database's ", name, " cannot be read: ", error.message()));
}

// Empty when the file is not there.
absl::StatusOr<std::string> ReadSmallFile(const std::string& directory, absl::string_view name) {
  const std::string path = absl::StrCat(directory, "/", name);
  std::error_code error;
  if (!std::filesystem::exists(path, error) && !error) return std::string();
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!error && file) text << file.rdbuf();
  if (error || !file) {
    return Unreadable(name, error ? error : std::error_code(errno, std::generic_category()));
  }
  return std::string(absl::StripAsciiWhitespace(text.str()));
}

absl::StatusOr<DatabaseFiles::Entry> FindManifest(const std::string& directory) {
  const auto current = ReadSmallFile(directory, "CURRENT");
  RETURN_IF_ERROR(current.status());
  absl::string_view digits = *current;
  if (!absl::ConsumePrefix(&digits, kManifestPrefix)) return DatabaseFiles::Entry{};
  const std::optional<uint64_t> number = FileNumber(digits);
  if (!number) return DatabaseFiles::Entry{};
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(directory + "/" + *current, error);
  if (error == std::errc::no_such_file_or_directory) return DatabaseFiles::Entry{.number = *number};
  if (error) return Unreadable(*current, error);
  return DatabaseFiles::Entry{.number = *number, .bytes = bytes};
}

absl::Status Lost(absl::string_view text) {
  return absl::DataLossError(absl::StrCat("data loss: ", text));
}

// Where the first `bytes` of a log have zeros instead of a record's header: checksum 4, length 2 and
// type 1, which is never 0. Records lie within blocks; fewer bytes than a header at a block's end are
// zeros. Nothing when the file cannot be read: RocksDB will say why.
std::optional<uint64_t> FindHole(const std::string& path, uint64_t bytes) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> block(kLogBlockBytes);
  for (uint64_t start = 0; start < bytes; start += block.size()) {
    const size_t size = std::min<uint64_t>(block.size(), bytes - start);
    if (!file.read(block.data(), static_cast<std::streamsize>(size))) return std::nullopt;
    for (size_t offset = 0; offset + kLogHeaderBytes <= size;) {
      const auto* header = reinterpret_cast<const uint8_t*>(block.data()) + offset;
      const size_t length = header[4] | header[5] << 8;
      if (length == 0 && header[6] == 0) return start + offset;
      offset += kLogHeaderBytes + length;
    }
  }
  return std::nullopt;
}

}  // namespace

std::string ManifestName(uint64_t number) {
  return absl::StrFormat("%s%06u", kManifestPrefix, number);
}

absl::StatusOr<std::vector<DatabaseFiles::Entry>> FindLogs(const std::string& directory) {
  std::vector<DatabaseFiles::Entry> logs;
  std::error_code error;
  auto entry = std::filesystem::directory_iterator(directory, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    absl::string_view digits = name;
    if (!absl::ConsumeSuffix(&digits, kLogSuffix)) continue;
    const std::optional<uint64_t> number = FileNumber(digits);
    if (!number) continue;
    std::error_code size_error;
    const uintmax_t bytes = entry->file_size(size_error);
    // It was removed just now.
    if (size_error == std::errc::no_such_file_or_directory) continue;
    if (size_error) return Unreadable(name, size_error);
    logs.push_back({.number = *number, .bytes = bytes});
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return Unreadable("directory", error);
  }
  std::sort(logs.begin(), logs.end(),
            [](const auto& a, const auto& b) { return a.number < b.number; });
  return logs;
}

absl::StatusOr<DatabaseFiles> FindDatabaseFiles(const std::string& directory) {
  auto identity = ReadSmallFile(directory, "IDENTITY");
  RETURN_IF_ERROR(identity.status());
  const auto manifest = FindManifest(directory);
  RETURN_IF_ERROR(manifest.status());
  auto logs = FindLogs(directory);
  RETURN_IF_ERROR(logs.status());
  return DatabaseFiles{
      .identity = *std::move(identity), .manifest = *manifest, .logs = *std::move(logs)};
}

absl::Status CheckManifest(const DatabaseFiles& synced, const DatabaseFiles& found) {
  // RocksDB makes another IDENTITY where it finds none, and is the same database all the same.
  if (!found.identity.empty() && !synced.identity.empty() && found.identity != synced.identity) {
    return Lost(
        "the database db is not the one that was last synced, db/IDENTITY is another: it is "
        "another store's, or was made anew");
  }
  if (found.manifest.number < synced.manifest.number) {
    return Lost(absl::StrCat("db/CURRENT names ",
                             found.manifest.number == 0 ? std::string("no manifest")
                                                        : ManifestName(found.manifest.number),
                             ", but ", ManifestName(synced.manifest.number), " was once synced"));
  }
  if (found.manifest.number == synced.manifest.number &&
      found.manifest.bytes < synced.manifest.bytes) {
    return Lost(absl::StrCat("the manifest db/", ManifestName(found.manifest.number), " has ",
                             found.manifest.bytes, " bytes, but ", synced.manifest.bytes,
                             " were once synced"));
  }
  return absl::OkStatus();
}

absl::Status CheckLogsAreThere(const std::vector<DatabaseFiles::Entry>& needed,
                               const std::vector<DatabaseFiles::Entry>& found) {
  for (const DatabaseFiles::Entry& log : needed) {
    const auto same = std::find_if(found.begin(), found.end(),
                                   [&](const auto& each) { return each.number == log.number; });
    if (same == found.end()) {
      return Lost(absl::StrCat("the log db/", LogName(log.number), " is missing, but ", log.bytes,
                               " bytes of it were once synced"));
    }
    if (same->bytes < log.bytes) {
      return Lost(absl::StrCat("the log db/", LogName(log.number), " has ", same->bytes,
                               " bytes, but ", log.bytes, " were once synced"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLogsAreWritten(const std::string& directory,
                                 const std::vector<DatabaseFiles::Entry>& needed) {
  for (const DatabaseFiles::Entry& log : needed) {
    const std::string name = LogName(log.number);
    const std::optional<uint64_t> hole = FindHole(directory + "/" + name, log.bytes);
    if (!hole) continue;
    return Lost(absl::StrCat("the log db/", name, " has zeros at byte ", *hole, ", but ", log.bytes,
                             " bytes of it were once synced"));
  }
  return absl::OkStatus();
}

}  // namespace mayfly
