// Prints results on one stream and errors on the other, as text or as JSON.
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
  // The streams must outlive this object.
  Report(std::ostream* out, std::ostream* err, bool json) : out_(out), err_(err), json_(json) {}

  bool json() const { return json_; }

  // Prints one line. Returns false if writing fails.
  bool Line(absl::string_view text);
  bool Object(const nlohmann::json& object);
  // Notes that the run did not succeed, which is not an error of the command. Not with JSON, where
  // the result contains the outcome.
  void NoteOutcome(const client::ClaimedOutput& output);

  // Prints "mayfly: call ID: not found: TEXT (REASON)" and returns the exit code. `call_id` may be
  // empty.
  ExitCode Error(const std::string& call_id, const absl::Status& status);
  // Prints an error in the user's arguments and returns kExitUsage.
  ExitCode UsageError(const absl::Status& status);

 private:
  std::ostream* const out_;
  std::ostream* const err_;
  const bool json_;
};

}  // namespace mayfly::cli
