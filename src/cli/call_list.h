// The ids of a map's calls, from a file.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace mayfly::cli {

// The ids in the file at `path`, or with "-" those that come through the descriptor `standard_input`:
// one a line, in their order, each once. Empty lines, blanks around an id and lines that begin with
// # do not count. INVALID_ARGUMENT, with the line, for anything that is not a call id, which has to be
// noticed before it becomes the name of a file.
absl::StatusOr<std::vector<std::string>> ReadCallList(const std::string& path, int standard_input);

}  // namespace mayfly::cli
