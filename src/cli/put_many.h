// Puts an input for each of many files, over one connection.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "cli/command_line.h"
#include "cli/context.h"
#include "mayfly/client.h"

namespace mayfly::cli {

struct InputFiles {
  std::vector<std::string> files;
  std::vector<std::string> skipped;  // what else the directories have, in words
  std::vector<absl::Status> errors;  // of directories that cannot be read, FAILED_PRECONDITION
};

// The files of `paths` in order; of a directory its regular files in the order of their names,
// without hidden ones. A path of nothing counts as a file. INVALID_ARGUMENT: a name has a control
// character.
absl::StatusOr<InputFiles> ListFiles(const std::vector<std::string>& paths);

class PutMany {
 public:
  // `line` must outlive this object.
  PutMany(client::Client client, const CommandLine& line, const Context& context)
      : client_(std::move(client)), line_(line), context_(context) {}

  // Prints a line "CALL<tab>FILE" for each file when its input is stored. Files that cannot be read
  // and inputs that are refused are reported, and the others continue. An interruption ends it,
  // and so does a line that cannot be printed: inputs that were sent by then are named on stderr.
  ExitCode Run();

 private:
  // The inputs that travel together.
  struct Group {
    std::vector<std::string> files;
    std::vector<client::Input> inputs;
    size_t bytes = 0;
  };

  // Neither interrupted nor unable to print ids.
  bool MayContinue() const;
  void Put(const std::string& file, Group* group);
  // Results in the order of the inputs, whose ids may be replaced.
  std::vector<absl::StatusOr<client::Stored>> PutAll(std::vector<client::Input>* inputs) const;
  absl::StatusOr<client::Stored> Upload(client::Input* input, client::PayloadSource* source) const;
  void Send(Group* group);
  void ReportStored(const std::string& file, const std::string& call_id,
                    const absl::StatusOr<client::Stored>& stored);
  absl::Status Print(const std::string& file, const client::Stored& stored);
  void ReportError(const std::string& file, const std::string& call_id, const absl::Status& status);
  // The first one counts.
  void SetExitCode(ExitCode code);

  const client::Client client_;
  const CommandLine& line_;
  const Context context_;
  size_t stored_count_ = 0;
  absl::Status written_;  // the first line that could not be printed
  ExitCode exit_code_ = kExitDone;
};

}  // namespace mayfly::cli
