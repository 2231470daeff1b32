// Sources and sinks for payloads that are too large for memory.
//
// The library calls their methods on the thread that asked for the transfer, one at a time, with
// pieces of 1 MiB. The methods may block. An error that they return ends the transfer and is its
// result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mayfly::client {

class PayloadSource {
 public:
  virtual ~PayloadSource() = default;

  // The size of the payload, if it is known. Then a payload that is too large is rejected before it
  // is sent, and a source that ends elsewhere is an error (OUT_OF_RANGE).
  virtual std::optional<uint64_t> SizeBytes() const { return std::nullopt; }

  // Reads up to `size` bytes from `offset` on; 0 at the end. Pieces are read once, in order. After
  // the connection broke they are read again from the first MiB that the server has not kept, and
  // must be the same. A source that cannot go back returns FAILED_PRECONDITION.
  virtual absl::StatusOr<size_t> ReadAt(uint64_t offset, char* buffer, size_t size) = 0;
};

// Tells a payload from one that replaced it: the data of an attempt never changes, nor does that of
// an input.
struct PayloadVersion {
  uint32_t attempt = 0;     // of an output, from 1; 0: an input
  uint64_t size_bytes = 0;  // of an output; of an input it is not known yet
};

class PayloadSink {
 public:
  virtual ~PayloadSink() = default;

  // Called before the first piece of a version. A sink that still has the beginning of this version,
  // from a download that broke off, perhaps in another process, returns how many bytes. The library
  // reads them for the checksum and downloads the rest.
  virtual absl::StatusOr<uint64_t> KeptBytes(const PayloadVersion& /*version*/) { return 0; }

  // Reads up to `size` of the kept bytes from `offset` on; 0: there are no more.
  virtual absl::StatusOr<size_t> ReadKept(uint64_t /*offset*/, char* /*buffer*/, size_t /*size*/) {
    return 0;
  }

  // Writes the next piece of the payload: in order, without gaps or overlaps, from the end of the
  // kept bytes on. At 0 it starts again: the kept bytes were others, or a later attempt has replaced
  // the output. The data is not verified before Finish.
  virtual absl::Status WriteAt(uint64_t offset, absl::string_view data) = 0;

  // Called once, when all `size` bytes were written and verified. The output is erased after this
  // returns OK, so this is the place for fsync.
  virtual absl::Status Finish(uint64_t size) = 0;
};

// The progress of a transfer, with `bytes_total` once it is known. Called after each piece, on the
// thread that transfers it. Not called for payloads that are sent in one message.
using Progress = std::function<void(uint64_t bytes_done, std::optional<uint64_t> bytes_total)>;

}  // namespace mayfly::client
