// The command that resumes a put which was broken off before its call id was printed.
#pragma once

#include <string>

#include "absl/status/status.h"

#include "cli/command_line.h"

namespace mayfly::cli {

// Whether the put may have been carried out, or be carried out later.
bool IsResumable(const absl::Status& status);

// put-input of one file, "-" for stdin, with this call id and everything else as in `line`. Quoted for
// a POSIX shell.
std::string ResumeCommand(const CommandLine& line, const std::string& call_id,
                          const std::string& file);

}  // namespace mayfly::cli
