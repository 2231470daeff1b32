// A payload to put, read piece by piece from a file or a pipe.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "mayfly/payload_io.h"

namespace mayfly::cli {

// The data kept for re-reading from a pipe. It suffices to resume after a broken connection,
// because the server has everything except the data in network buffers.
inline constexpr size_t kPipeKeptBytes = 16 << 20;

// Opens the file at `path`, or with "-" the descriptor `standard_input` at its current position,
// which remains owned by the caller. A regular file has a known length and can be read again from
// anywhere. A pipe or a device has no known length, and can be read again from kPipeKeptBytes back.
// INVALID_ARGUMENT if it cannot be read.
absl::StatusOr<std::unique_ptr<client::PayloadSource>> OpenPayload(const std::string& path,
                                                                   int standard_input);

// Reads the payload into `data` if it is small enough for a message. Returns whether that is the
// whole payload.
absl::StatusOr<bool> ReadIfItFits(client::PayloadSource* source, std::string* data);

}  // namespace mayfly::cli
