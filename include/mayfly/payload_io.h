// Where payloads come from and go to that are too large for memory.
//
// The library calls them on the thread that asked for the transfer, one call at a time, with pieces
// of 1 MiB; they may block. An error that they return ends the transfer and is its result.
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

  // The length of the whole, if it is known: what is too large is then refused before it is sent,
  // and a source that ends elsewhere is an error (OUT_OF_RANGE).
  virtual std::optional<uint64_t> SizeBytes() const { return std::nullopt; }

  // Reads up to `size` bytes from `offset` on; fewer only at the end, and none from there on. Each
  // piece is asked for once, in order, unless the connection broke: then again from a MiB that the
  // server has not kept, which must read the same. A source that cannot go back returns
  // FAILED_PRECONDITION.
  virtual absl::StatusOr<size_t> ReadAt(uint64_t offset, char* buffer, size_t size) = 0;
};

class PayloadSink {
 public:
  virtual ~PayloadSink() = default;

  // The pieces of the payload: in order, without gap or overlap, from 0 on. What is written is not
  // verified until Finish.
  virtual absl::Status WriteAt(uint64_t offset, absl::string_view data) = 0;

  // Once, when all `size` bytes were written and are what was put. What must be safe before the
  // output is erased is made so here: fsync.
  virtual absl::Status Finish(uint64_t size) = 0;
};

// How far a transfer has come; `bytes_total` once it is known. Called after each piece, on the
// thread that transfers it. Not called for payloads that travel whole in a message.
using Progress = std::function<void(uint64_t bytes_done, std::optional<uint64_t> bytes_total)>;

}  // namespace mayfly::client
