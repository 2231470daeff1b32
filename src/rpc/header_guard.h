// A HeaderGuard follows the bytes that a client sends on an HTTP/2 connection (RFC 9113, section 4)
// and says when a header block is larger than any that the server would take.
//
// gRPC 1.51 compares the size of headers with its limit when it has decoded them. A string of many
// megabytes, spread over CONTINUATION frames, is kept until its end, and copied with each frame that
// comes: 15 MiB cost 22 s of CPU. It also begins to count anew with each frame. So the encoded size
// of a block is bounded here, as soon as the frame's own header names it, and so is the number of
// frames, to what a sender needs that fills them.
//
// Holds a few numbers, no bytes. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace mayfly {

class HeaderGuard {
 public:
  // For a server that takes `metadata_bytes_max` of decoded headers. HPACK encodes a header in fewer
  // bytes than the 32 more than its text that it counts for.
  explicit HeaderGuard(size_t metadata_bytes_max);

  // The next bytes that came. False: the block under way is too large, and the connection has to be
  // ended; nothing may be fed after that.
  bool Feed(ByteSpan bytes);

 private:
  static constexpr size_t kFrameHeaderBytes = 9;

  // The frame whose header is complete.
  bool BeginFrame();

  const size_t block_bytes_max_;
  const size_t block_frames_max_;
  size_t skip_bytes_;  // of the connection preface, then of a frame's payload
  std::array<uint8_t, kFrameHeaderBytes> frame_header_ = {};
  size_t frame_header_bytes_ = 0;
  size_t block_bytes_ = 0;
  size_t block_frames_ = 0;
};

}  // namespace mayfly
