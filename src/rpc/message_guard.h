// A MessageGuard follows the messages on a connection's streams (gRPC over HTTP/2, "Length-Prefixed-
// Message") and keeps gRPC from collecting one that is larger than it will take.
//
// gRPC 1.51 compares the size of a message with its limit when the whole message is there, so a client
// decides how much of it the server keeps: up to 4 GiB. The guard replaces an announced length that is
// above the limit by the least one above it. gRPC then collects that much and refuses the message as it
// refuses any other that is too large, with RESOURCE_EXHAUSTED and for this call alone.
//
// State is held for streams in the middle of a message, 24 bytes each, and for no more than
// kStreamsMax of them. Not thread-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/container/btree_map.h"

#include "base/bytes.h"

namespace mayfly {

class MessageGuard {
 public:
  // Calls that the server ended in the middle of a message may leave a stream behind. The oldest are
  // forgotten, and not looked at any more: their next bytes could not be told from a new message.
  static constexpr size_t kStreamsMax = 1024;

  // Longer messages leave holes in the heap, and are counted.
  static constexpr uint64_t kLargeBytes = 4 << 20;

  // `large_bytes` outlives it.
  MessageGuard(uint64_t message_bytes_max, std::atomic<uint64_t>* large_bytes)
      : message_bytes_max_(message_bytes_max), large_bytes_(*large_bytes) {}

  // A DATA frame of the stream begins, and ends.
  void BeginData(uint32_t stream);
  void EndData(bool ends_stream);
  // The next bytes of its payload; lengths in them may be replaced.
  void Feed(MutableByteSpan bytes);
  // The client has reset the stream.
  void Forget(uint32_t stream) { streams_.erase(stream); }

  size_t stream_count() const { return streams_.size(); }

 private:
  static constexpr size_t kPrefixBytes = 5;  // a flag, and the length in four bytes

  // Where a stream is in its message.
  struct Message {
    size_t prefix_bytes = 0;  // that have come of the prefix
    uint64_t length = 0;      // as far as it has come
    uint64_t left_bytes = 0;  // of the message
    bool is_equal = true;     // to the least length above the limit, as far as it has come
    bool is_too_large = false;
    bool is_between() const { return prefix_bytes == 0 && left_bytes == 0; }
  };

  void FeedLength(uint8_t* byte);

  const uint64_t message_bytes_max_;
  std::atomic<uint64_t>& large_bytes_;
  absl::btree_map<uint32_t, Message> streams_;  // in the middle of a message, between two frames
  uint32_t forgotten_ = 0;                      // the highest of those that were
  uint32_t stream_ = 0;                         // whose frame it is
  Message message_;
  bool is_looking_ = false;
};

}  // namespace mayfly
