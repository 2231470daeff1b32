// The terminal that a progress bar may be drawn on.
#pragma once

#include "cli/command_line.h"
#include "cli/progress_bar.h"

namespace mayfly::cli {

// stderr, if that is a terminal, the payload does not come from or go to one, and the results are
// not to be JSON; otherwise none.
ProgressBar::Terminal TerminalFor(const CommandLine& line);

}  // namespace mayfly::cli
