#include "cli/resume_command.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace mayfly::cli {
namespace {

bool IsPlain(char c) { return absl::ascii_isalnum(c) || absl::StrContains("_./:=@%+,-", c); }

std::string Quoted(const std::string& word) {
  if (!word.empty() && std::all_of(word.begin(), word.end(), IsPlain)) return word;
  return absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

class CommandWords {
 public:
  void Add(const std::string& word) {
    absl::StrAppend(&text_, text_.empty() ? "" : " ", Quoted(word));
  }
  void AddOption(const std::string& name, const std::string& value) {
    if (value.empty()) return;
    Add(name);
    Add(value);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace

bool IsResumable(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsCancelled(status);
}

std::string ResumeCommand(const CommandLine& line, const std::string& call_id,
                          const std::string& file) {
  const CommandLine defaults;
  CommandWords words;
  words.Add(line.program);
  words.AddOption("--server", line.settings.server);
  words.AddOption("--ca", line.settings.ca);
  words.AddOption("--cert", line.settings.cert);
  words.AddOption("--key", line.settings.key);
  words.AddOption("--as", line.file.profile);
  words.AddOption("--config", line.file.path);
  if (line.json) words.Add("--json");
  if (line.timeout != defaults.timeout) {
    words.AddOption("--timeout", absl::FormatDuration(line.timeout));
  }
  words.Add(VerbName(Verb::kPutInput));
  words.AddOption("--call-id", call_id);
  if (line.ttl != defaults.ttl) words.AddOption("--ttl", absl::FormatDuration(line.ttl));
  words.AddOption("--content-type", line.metadata.content_type);
  for (const auto& [name, value] : line.metadata.labels) {
    words.AddOption("--label", absl::StrCat(name, "=", value));
  }
  if (file != "-") words.Add(file);
  return words.text();
}

}  // namespace mayfly::cli
