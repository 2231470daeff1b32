// Reads the call ids of a map from a file.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "cli/interruption.h"

namespace mayfly::cli {

// The ids in the file at `path`, or with "-" from the descriptor `standard_input`: one per line, in
// order, without duplicates. Empty lines, blanks around an id and lines that begin with # are
// ignored. INVALID_ARGUMENT with the line and its number for anything else, because every id becomes
// a file name. CANCELLED when a wait for a pipe is interrupted; `interruption` may be null.
absl::StatusOr<std::vector<std::string>> ReadCallList(const std::string& path, int standard_input,
                                                      const Interruption* interruption = nullptr);

}  // namespace mayfly::cli
