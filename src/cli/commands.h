// Carries out one command.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "cli/command_line.h"
#include "cli/context.h"
#include "mayfly/client.h"

namespace mayfly::cli {

class Commands {
 public:
  // `line` outlives this.
  Commands(client::Client client, const CommandLine& line, const Context& context)
      : client_(std::move(client)), line_(line), context_(context) {}

  ExitCode Run();

 private:
  ExitCode PutInput();
  ExitCode GetInput();
  ExitCode PutOutput();
  ExitCode Retrieve();
  ExitCode Describe();
  ExitCode Delete();

  // Data and all in one JSON object, for which it has to fit into memory.
  ExitCode GetInputAsJson();
  ExitCode RetrieveAsJson();

  // Where the payload goes: --output, or stdout.
  std::unique_ptr<client::PayloadSink> NewSink() const;
  // What draws the bar. Payloads that are there at once get none.
  client::Progress NewProgress() const;
  client::CallOptions TransferOptions() const;
  client::RetrieveOptions RetrievalOptions() const;

  ExitCode ReportStored(const absl::StatusOr<client::Stored>& stored, const std::string& call_id);
  ExitCode ReportRetrieved(const client::ClaimedOutput& output);
  // The bar makes room for the error, or stays with what it has shown last.
  ExitCode ReportError(const std::string& call_id, const absl::Status& status);

  const std::string& call_id() const { return line_.call_ids[0]; }
  Report* report() const { return context_.report; }

  const client::Client client_;
  const CommandLine& line_;
  const Context context_;
};

}  // namespace mayfly::cli
