#include "cli/terminal.h"

#include <iostream>
#include <unistd.h>

#include <sys/ioctl.h>

#include "base/clock.h"

namespace mayfly::cli {
namespace {

constexpr int kUsualColumns = 80;

int Columns() {
  winsize size = {};
  const bool is_known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  // One column less: terminals wrap the line when the last column is filled.
  return (is_known ? size.ws_col : kUsualColumns) - 1;
}

absl::Time Now() { return absl::UnixEpoch() + SystemClock().Read().boottime; }

bool PayloadIsOnTerminal(const CommandLine& line) {
  switch (line.verb) {
    case Verb::kPutInput:
    case Verb::kPutOutput:
      return line.payload_file == "-" && isatty(STDIN_FILENO) != 0;
    case Verb::kGetInput:
    case Verb::kRetrieve:
      return line.output_file.empty() && line.directory.empty() && isatty(STDOUT_FILENO) != 0;
    case Verb::kDescribe:
    case Verb::kDelete:
    case Verb::kInfo:
      break;
  }
  return false;
}

}  // namespace

ProgressBar::Terminal TerminalFor(const CommandLine& line) {
  const bool is_on_terminal = PayloadIsOnTerminal(line);
  const bool waits = line.verb == Verb::kRetrieve;
  if (line.json || isatty(STDERR_FILENO) == 0 || (is_on_terminal && !waits)) return {};
  return {.out = &std::cerr, .columns = Columns, .now = Now, .only_waits = is_on_terminal};
}

}  // namespace mayfly::cli
