// A payload to put, from a file or from a pipe, a piece at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "mayfly/payload_io.h"

namespace mayfly::cli {

// What a pipe keeps of what was read: enough to go on after a broken connection, since the server
// has all but what the networks in between hold.
inline constexpr size_t kPipeKeptBytes = 16 << 20;

// The file at `path`, or with "-" the descriptor `standard_input` from where it is, which stays the
// caller's. A regular file tells its length and can go back anywhere; a pipe or a device cannot tell,
// and can go back by kPipeKeptBytes. INVALID_ARGUMENT when it cannot be read.
absl::StatusOr<std::unique_ptr<client::PayloadSource>> OpenPayload(const std::string& path,
                                                                   int standard_input);

}  // namespace mayfly::cli
