#include "rpc/header_guard.h"

#include <algorithm>

namespace mayfly {
namespace {

// "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n". gRPC compares it.
constexpr size_t kPrefaceBytes = 24;
constexpr uint8_t kHeaders = 0x1;
constexpr uint8_t kContinuation = 0x9;
// The smallest SETTINGS_MAX_FRAME_SIZE that a server can ask for, and what gRPC asks for.
constexpr size_t kFrameBytes = 16 << 10;
// Padding, a priority and changes of the dynamic table's size are no part of any header.
constexpr size_t kBlockOverheadBytes = 1 << 10;

}  // namespace

HeaderGuard::HeaderGuard(size_t metadata_bytes_max)
    : block_bytes_max_(metadata_bytes_max + kBlockOverheadBytes),
      block_frames_max_(block_bytes_max_ / kFrameBytes + 1),
      skip_bytes_(kPrefaceBytes) {}

bool HeaderGuard::Feed(ByteSpan bytes) {
  while (!bytes.empty()) {
    if (skip_bytes_ > 0) {
      const size_t skipped = std::min(skip_bytes_, bytes.size());
      skip_bytes_ -= skipped;
      bytes.remove_prefix(skipped);
      continue;
    }
    frame_header_[frame_header_bytes_++] = bytes[0];
    bytes.remove_prefix(1);
    if (frame_header_bytes_ == kFrameHeaderBytes && !BeginFrame()) return false;
  }
  return true;
}

bool HeaderGuard::BeginFrame() {
  frame_header_bytes_ = 0;
  skip_bytes_ = static_cast<size_t>(frame_header_[0]) << 16 |
                static_cast<size_t>(frame_header_[1]) << 8 | frame_header_[2];
  const uint8_t type = frame_header_[3];
  if (type == kHeaders) {
    block_bytes_ = 0;
    block_frames_ = 0;
  } else if (type != kContinuation) {
    return true;
  }
  block_bytes_ += skip_bytes_;
  ++block_frames_;
  return block_bytes_ <= block_bytes_max_ && block_frames_ <= block_frames_max_;
}

}  // namespace mayfly
