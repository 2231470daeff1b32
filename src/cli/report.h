// What the command tells: results on one stream, errors on the other, for people or as JSON.
#pragma once

#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include <nlohmann/json_fwd.hpp>

#include "cli/command_line.h"

namespace mayfly::cli {

class Report {
 public:
  // The streams outlive this.
  Report(std::ostream* out, std::ostream* err, bool json) : out_(out), err_(err), json_(json) {}

  bool json() const { return json_; }

  // One line. False when the stream cannot take it.
  bool Line(absl::string_view text);
  bool Object(const nlohmann::json& object);
  // That the run was no success, which is no error here; not with JSON, which has it in the result.
  void NoteOutcome(const client::ClaimedOutput& output);

  // "mayfly: call ID: not found: TEXT (REASON)". Returns the code to exit with. `call_id` may be
  // empty.
  ExitCode Error(const std::string& call_id, const absl::Status& status);
  // An error in what the user gave; its code is kExitUsage.
  ExitCode UsageError(const absl::Status& status);

 private:
  std::ostream* const out_;
  std::ostream* const err_;
  const bool json_;
};

}  // namespace mayfly::cli
