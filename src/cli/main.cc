// mayfly: put inputs, get inputs, put outputs and retrieve outputs, from a shell.
#include <iostream>
#include <signal.h>
#include <stdlib.h>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/report.h"
#include "cli/settings.h"
#include "mayfly/client.h"

namespace mayfly::cli {
namespace {

int Main(int argc, const char* const* argv) {
  const auto parsed = ParseCommandLine(argc, argv, &std::cout, &std::cerr);
  if (const ExitCode* code = std::get_if<ExitCode>(&parsed)) return *code;
  const CommandLine& line = std::get<CommandLine>(parsed);
  Report report(&std::cout, &std::cerr, line.json);
  const auto settings = LoadSettings(line.settings, line.config_file,
                                     [](const char* name) -> const char* { return getenv(name); });
  if (!settings.ok()) return report.UsageError(settings.status());
  const auto client = client::Client::Connect({.target = settings->server,
                                               .ca_file = settings->ca,
                                               .certificate_file = settings->cert,
                                               .key_file = settings->key,
                                               .timeout = line.timeout});
  if (!client.ok()) return report.UsageError(client.status());
  return Commands(*client, line, &std::cin, &report, PosixFileSystem()).Run();
}

}  // namespace
}  // namespace mayfly::cli

int main(int argc, char** argv) {
  // A reader that has gone is an error like any other: the claim is released, not left to lapse.
  signal(SIGPIPE, SIG_IGN);
  // stderr is for one line of ours; who wants gRPC's too sets this.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  return mayfly::cli::Main(argc, argv);
}
