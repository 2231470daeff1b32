// Executes one command.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "cli/command_line.h"
#include "cli/context.h"
#include "cli/file_transfer.h"
#include "cli/waiting.h"
#include "mayfly/client.h"

namespace mayfly::cli {

class Commands {
 public:
  // `line` must outlive this object.
  Commands(client::Client client, const CommandLine& line, const Context& context)
      : client_(std::move(client)), line_(line), context_(context) {}

  ExitCode Run();

 private:
  ExitCode PutInput();
  ExitCode GetInput();
  ExitCode PutOutput();
  ExitCode Retrieve();
  // With the calls of the command line or of its list.
  ExitCode ForEachCall(ExitCode (Commands::*command)(const std::vector<std::string>& call_ids));
  ExitCode Describe(const std::vector<std::string>& call_ids);
  ExitCode Info();
  ExitCode Delete(const std::vector<std::string>& call_ids);

  // Prints everything, including the data, in one JSON object. It must fit into memory.
  ExitCode GetInputAsJson();
  ExitCode RetrieveAsJson();

  absl::StatusOr<client::ClaimedOutput> RetrieveToStdout(Waiting* waiting);
  FileTarget OutputTarget() const { return {context_.file_system, line_.output_file}; }
  // Draws the progress bar; none for payloads that complete at once.
  client::Progress NewProgress() const;
  client::CallOptions TransferOptions() const;
  client::RetrieveOptions RetrievalOptions() const;

  ExitCode ReportStored(const absl::StatusOr<client::Stored>& stored, const std::string& call_id);
  // The id was generated here unless the command line has one.
  absl::StatusOr<client::Stored> PutWithId(client::Input* input, client::PayloadSource* source,
                                           bool fits);
  ExitCode ReportRetrieved(const client::ClaimedOutput& output);
  // Removes the bar before the error, or keeps its last state above it.
  ExitCode ReportError(const std::string& call_id, const absl::Status& status,
                       const std::string& resume = "");

  const std::string& call_id() const { return line_.call_ids[0]; }
  Report* report() const { return context_.report; }

  const client::Client client_;
  const CommandLine& line_;
  const Context context_;
};

}  // namespace mayfly::cli
