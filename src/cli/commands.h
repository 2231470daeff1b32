// Carries out one command.
#pragma once

#include <istream>
#include <string>

#include "absl/status/statusor.h"

#include "base/file_system.h"
#include "cli/command_line.h"
#include "cli/report.h"
#include "mayfly/client.h"

namespace mayfly::cli {

class Commands {
 public:
  // `in` is what "-" reads. All pointers outlive this.
  Commands(client::Client client, const CommandLine& line, std::istream* in, Report* report,
           FileSystem* file_system);

  ExitCode Run();

 private:
  ExitCode PutInput();
  ExitCode GetInput();
  ExitCode PutOutput();
  ExitCode Retrieve();
  ExitCode Describe();
  ExitCode Delete();

  // The payload to put: the file or `in`, with the metadata of the command line.
  absl::StatusOr<client::Payload> ReadPayload();
  // To --output, or to stdout.
  absl::Status WritePayload(const std::string& data);
  ExitCode ReportStored(const absl::StatusOr<client::Stored>& stored, const std::string& call_id);
  absl::Status WriteOutput(const client::ClaimedOutput& output);
  const std::string& call_id() const { return line_.call_ids[0]; }

  const client::Client client_;
  const CommandLine& line_;
  std::istream* const in_;
  Report* const report_;
  FileSystem* const file_system_;
};

}  // namespace mayfly::cli
