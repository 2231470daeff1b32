#include "rpc/message_guard.h"

#include <algorithm>

namespace mayfly {

void MessageGuard::BeginData(uint32_t stream) {
  stream_ = stream;
  message_ = Message();
  is_looking_ = true;
  if (streams_.empty() && forgotten_ == 0) return;
  const auto found = streams_.find(stream);
  if (found != streams_.end()) {
    message_ = found->second;
    streams_.erase(found);
  } else {
    is_looking_ = stream > forgotten_;
  }
}

void MessageGuard::EndData(bool ends_stream) {
  if (!is_looking_ || ends_stream || message_.is_between()) return;
  streams_[stream_] = message_;
  if (streams_.size() <= kStreamsMax) return;
  forgotten_ = std::max(forgotten_, streams_.begin()->first);
  streams_.erase(streams_.begin());
}

void MessageGuard::Feed(MutableByteSpan bytes) {
  while (is_looking_ && !bytes.empty()) {
    if (message_.left_bytes > 0) {
      const size_t size = std::min<uint64_t>(message_.left_bytes, bytes.size());
      message_.left_bytes -= size;
      bytes.remove_prefix(size);
      continue;
    }
    if (message_.prefix_bytes > 0) FeedLength(&bytes[0]);
    bytes.remove_prefix(1);
    if (++message_.prefix_bytes < kPrefixBytes) continue;
    if (message_.length > kLargeBytes) {
      large_bytes_ += std::min(message_.length, message_bytes_max_ + 1);
    }
    message_ = Message{.left_bytes = message_.length};
  }
}

// A byte at a time, since a read may end within the length: what is passed on is the lesser of the
// announced length and the least one above the limit.
void MessageGuard::FeedLength(uint8_t* byte) {
  const uint64_t refused = message_bytes_max_ + 1;
  const auto shift = 8 * (kPrefixBytes - 1 - message_.prefix_bytes);
  const auto refused_byte = static_cast<uint8_t>(refused >> shift);
  const uint8_t announced = *byte;
  if (message_.is_equal && announced != refused_byte) {
    message_.is_equal = false;
    message_.is_too_large = announced > refused_byte;
  }
  message_.length = message_.length << 8 | announced;
  if (message_.is_too_large) *byte = refused_byte;
}

}  // namespace mayfly
