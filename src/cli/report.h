// Prints results on one stream and errors on the other, as text or as JSON.
#pragma once

#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include <nlohmann/json_fwd.hpp>

#include "base/mutex.h"
#include "cli/command_line.h"
#include "mayfly/call.h"

namespace mayfly::cli {

// The same error, with another text.
absl::Status Reworded(const absl::Status& status, absl::string_view text);

// The error of a put. It is one too if the call had been consumed before: nothing is stored then.
absl::Status StoredStatus(const absl::StatusOr<client::Stored>& stored);

class Report {
 public:
  // The streams must outlive this object.
  Report(std::ostream* out, std::ostream* err, bool json, Verb verb)
      : out_(out), err_(err), json_(json), verb_(verb) {}

  bool json() const { return json_; }

  // Prints one line. FAILED_PRECONDITION if it cannot be written; then no further line can be.
  absl::Status Line(absl::string_view text);
  absl::Status Object(const nlohmann::json& object);
  // kExitOutcome if the run did not succeed, and a note of that: not with JSON, where the result
  // contains the outcome.
  ExitCode NoteOutcome(const client::ClaimedOutput& output);
  // Prints "mayfly: TEXT" on stderr, for people: not with JSON. Thread-safe.
  void Note(absl::string_view text) EXCLUDES_LOCK(mutex_);
  bool HasNoted() EXCLUDES_LOCK(mutex_);

  // Prints "mayfly: call ID: not found: TEXT (REASON)" and returns the exit code. `call_id` may be
  // empty. Names of the client's options and of the wire become those of the command line. A command
  // that resumes what has failed follows on a line of its own, unless it is empty.
  ExitCode Error(const std::string& call_id, const absl::Status& status,
                 const std::string& resume = "");
  // Prints an error that was found before anything was sent; nothing for CANCELLED, since there is
  // nothing to resume. Returns kExitUsage for INVALID_ARGUMENT, a mistake in arguments or settings;
  // otherwise kExitRefused, as for a file that cannot be read.
  ExitCode Refuse(const absl::Status& status);

 private:
  std::ostream* const out_;
  std::ostream* const err_;
  const bool json_;
  const Verb verb_;
  int out_error_ = 0;  // the errno of the first line that could not be written
  Mutex mutex_;
  bool has_noted_ GUARDED_BY(mutex_) = false;
};

}  // namespace mayfly::cli
