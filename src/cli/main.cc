// mayfly: puts inputs, gets inputs, puts outputs and retrieves outputs from a shell.
#include <errno.h>
#include <fcntl.h>
#include <iostream>
#include <memory>
#include <optional>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include <sys/syscall.h>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/descriptor_sink.h"
#include "cli/report.h"
#include "cli/settings.h"
#include "cli/signal_watch.h"
#include "cli/terminal.h"
#include "mayfly/client.h"

namespace mayfly::cli {
namespace {

// The other commands have nothing to release, to clean up or to tell, and may be reading from a pipe.
bool CleansUp(Verb verb) {
  return verb == Verb::kGetInput || verb == Verb::kRetrieve || verb == Verb::kPutInput;
}

ExitCode Run(const CommandLine& line, Interruption* interruption) {
  // Shared with the client, which may report for a moment longer.
  const auto report = std::make_shared<Report>(&std::cout, &std::cerr, line.json, line.verb);
  const auto bar = std::make_shared<ProgressBar>(TerminalFor(line));
  const auto settings = LoadSettings(line.settings, line.file,
                                     [](const char* name) -> const char* { return getenv(name); });
  if (!settings.ok()) return report->Refuse(settings.status());
  const absl::Status readable = CheckReadable(*settings);
  if (!readable.ok()) return report->Refuse(readable);
  const auto client =
      client::Client::Connect({.target = settings->server,
                               .ca_file = settings->ca,
                               .certificate_file = settings->cert,
                               .key_file = settings->key,
                               .timeout = line.timeout,
                               .on_unreachable = [report, bar](const absl::Status& why) {
                                 // An error that ends the command is reported by the command.
                                 if (!absl::IsUnavailable(why)) return;
                                 bar->Hide();
                                 report->Note(absl::StrCat(why.message(), "; trying again"));
                               }});
  if (absl::IsUnauthenticated(client.status())) return report->Error("", client.status());
  if (!client.ok()) return report->Refuse(client.status());
  return Commands(*client, line,
                  {.standard_input = STDIN_FILENO,
                   .standard_output = STDOUT_FILENO,
                   .report = report.get(),
                   .bar = bar.get(),
                   .file_system = PosixFileSystem(),
                   .interruption = interruption})
      .Run();
}

// A descriptor that the caller has closed would be the next one that the program opens, and take the
// payload. Whatever is opened here fails as a closed one does. Plain system calls: it runs before
// everything else.
void OccupyClosedStreams(int, char**, char**) {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (syscall(SYS_fcntl, descriptor, F_GETFD) >= 0) continue;
    // The lowest that is free, which is this one.
    syscall(SYS_openat, AT_FDCWD, "/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

// gRPC opens descriptors when it is loaded, before main and before our own constructors.
__attribute__((section(".preinit_array"),
               used)) void (*occupy_closed_streams)(int, char**, char**) = OccupyClosedStreams;

int Main(int argc, const char* const* argv) {
  const auto parsed = ParseCommandLine(argc, argv, &std::cout, &std::cerr);
  if (const ExitCode* code = std::get_if<ExitCode>(&parsed)) {
    if (std::cout.flush().good()) return *code;
    std::cerr << "mayfly: " << StdoutError(errno).message() << "\n";
    return kExitRefused;
  }
  const CommandLine& line = std::get<CommandLine>(parsed);
  Interruption interruption;
  std::optional<SignalWatch> signals;
  if (CleansUp(line.verb)) signals.emplace(&interruption);
  const ExitCode code = Run(line, &interruption);
  if (code != kExitDone && signals.has_value()) signals->EndIfInterrupted();
  return code;
}

}  // namespace
}  // namespace mayfly::cli

int main(int argc, char** argv) {
  // A closed pipe (SIGPIPE) and a file size limit (SIGXFSZ) are ordinary errors: the claim is
  // released instead of left to lapse.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  // stderr should contain only mayfly's own line. Set this variable to see gRPC's log too.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  return mayfly::cli::Main(argc, argv);
}
