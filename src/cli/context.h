// The environment of a command.
#pragma once

#include "base/file_system.h"
#include "cli/interruption.h"
#include "cli/progress_bar.h"
#include "cli/report.h"

namespace mayfly::cli {

// All pointers must outlive the command.
struct Context {
  int standard_input = 0;
  int standard_output = 1;
  Report* report = nullptr;
  ProgressBar* bar = nullptr;
  FileSystem* file_system = nullptr;
  Interruption* interruption = nullptr;
};

}  // namespace mayfly::cli
