// A payload to put, read piece by piece from a file or a pipe.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "cli/interruption.h"
#include "mayfly/payload_io.h"

namespace mayfly::cli {

// The data kept for re-reading from a pipe. It suffices to resume after a broken connection,
// because the server has everything except the data in network buffers.
inline constexpr size_t kPipeKeptBytes = 16 << 20;

// Opens the file at `path`, or with "-" the descriptor `standard_input` at its current position,
// which remains owned by the caller. A regular file has a known length and can be read again from
// anywhere. A pipe or a device has no known length, and can be read again from kPipeKeptBytes back.
// FAILED_PRECONDITION if it cannot be read.
//
// CANCELLED when a wait for a pipe is interrupted; `interruption` may be null.
absl::StatusOr<std::unique_ptr<client::PayloadSource>> OpenPayload(
    const std::string& path, int standard_input, const Interruption* interruption = nullptr);

// Reads the payload into `data` if it is small enough for a message. Returns whether that is the
// whole payload.
absl::StatusOr<bool> ReadIfItFits(client::PayloadSource* source, std::string* data);

}  // namespace mayfly::cli
