// The terminal on which a progress bar is drawn.
#pragma once

#include "cli/command_line.h"
#include "cli/progress_bar.h"

namespace mayfly::cli {

// stderr, if it is a terminal, the payload is neither read from nor written to a terminal, and the
// results are not JSON; otherwise none. Before an output that is written to a terminal, only the
// wait is shown.
ProgressBar::Terminal TerminalFor(const CommandLine& line);

}  // namespace mayfly::cli
