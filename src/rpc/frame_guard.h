// A FrameGuard follows the bytes that a client sends on an HTTP/2 connection (RFC 9113, section 4)
// and says when it must not go on: a header block is larger than any that the server would take, or
// calls are reset faster than any client has to.
//
// gRPC 1.51 compares the size of headers with its limit when it has decoded them. A string of many
// megabytes, spread over CONTINUATION frames, is kept until its end, and copied with each frame that
// comes: 15 MiB cost 22 s of CPU. It also begins to count anew with each frame, so that a byte each,
// references to HPACK's table, adds up to any number of headers. Bounded here, as soon as a frame's
// own header or a field's first byte is there:
//
//   a block's encoded bytes   the limit and 1 KiB
//   its frames                what a sender needs that fills them
//   its fields                the limit / 32, which is what each counts for beside its text
//
// Resets of calls are held to their budgets (rpc/reset_budget.h), and messages that are too large to the
// least size that gRPC refuses (rpc/message_guard.h).
//
// Holds a few numbers, no bytes. Not thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

#include "base/bytes.h"
#include "rpc/message_guard.h"
#include "rpc/reset_budget.h"

namespace mayfly {

// Counts the fields of a header block (RFC 7541, section 6), whose strings it skips.
class FieldCounter {
 public:
  // Of the block that begins after this.
  void Begin() { *this = FieldCounter(); }
  void Feed(ByteSpan bytes);
  size_t count() const { return count_; }

 private:
  enum class Part { kField, kIndex, kLength, kLengthMore };

  void FeedByte(uint8_t byte);
  void BeginField(uint8_t byte);
  // A name or value of that many bytes comes, then what follows it.
  void SkipString(size_t bytes);

  size_t count_ = 0;
  Part part_ = Part::kField;
  int strings_left_ = 0;  // of the field under way, without the one being skipped
  size_t skip_bytes_ = 0;
  size_t length_ = 0;
  int length_shift_ = 0;
};

class FrameGuard {
 public:
  enum class Verdict { kFine, kTooManyHeaders, kTooManyResets };

  // What the server takes. HPACK encodes a header in fewer bytes than the 32 more than its text that it
  // counts for.
  struct Limits {
    size_t metadata_bytes_max = 0;  // of decoded headers
    size_t message_bytes_max = 0;
  };

  // Large messages are added to `large_message_bytes`. What the client shares with its other
  // connections, as `peer`, is in `shared_resets`. Both outlive the guard.
  FrameGuard(const Limits& limits, std::atomic<uint64_t>* large_message_bytes,
             SharedResetBudgets* shared_resets, ResetPeer peer);

  // The next bytes that came, at `now`, a time that does not go back. Lengths of messages in them may
  // be replaced. When they are not fine, the connection has to be ended, and nothing may be fed after
  // that.
  Verdict Feed(MutableByteSpan bytes, absl::Duration now);

 private:
  static constexpr size_t kFrameHeaderBytes = 9;

  // The frame whose header is complete.
  Verdict BeginFrame(absl::Duration now);
  void EndFrame();
  bool BeginBlockFrame(bool is_first);
  bool FeedPayload(ByteSpan bytes);
  bool TakeReset(absl::Duration now);

  const size_t block_bytes_max_;
  const size_t block_frames_max_;
  const size_t block_fields_max_;
  size_t payload_left_;  // of the connection preface at first
  bool in_block_ = false;
  bool in_data_ = false;
  size_t priority_left_ = 0;  // bytes before a block's first field
  std::array<uint8_t, kFrameHeaderBytes> frame_header_ = {};
  size_t frame_header_bytes_ = 0;
  size_t block_bytes_ = 0;
  size_t block_frames_ = 0;
  FieldCounter fields_;
  MessageGuard messages_;
  ResetBudget resets_{kConnectionResets};
  SharedResetBudgets* const shared_resets_;
  const ResetPeer peer_;
};

}  // namespace mayfly
