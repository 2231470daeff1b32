#include "rpc/frame_guard.h"

#include <algorithm>
#include <utility>

namespace mayfly {
namespace {

// "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n". gRPC compares it.
constexpr size_t kPrefaceBytes = 24;
constexpr uint8_t kData = 0x0;
constexpr uint8_t kEndStream = 0x1;
constexpr uint32_t kStreamBits = 0x7fffffff;
constexpr uint8_t kHeaders = 0x1;
constexpr uint8_t kResetStream = 0x3;
constexpr uint8_t kContinuation = 0x9;
constexpr uint8_t kHasPriority = 0x20;
constexpr size_t kPriorityBytes = 5;
// The smallest SETTINGS_MAX_FRAME_SIZE that a server can ask for, and what gRPC asks for.
constexpr size_t kFrameBytes = 16 << 10;
// A priority and changes of the dynamic table's size are no part of any header.
constexpr size_t kBlockOverheadBytes = 1 << 10;
// What a field counts for beside its name and value (RFC 9113, section 6.5.2).
constexpr size_t kFieldOverheadBytes = 32;

constexpr uint8_t kMore = 0x80;  // in all bytes of a number but its last
constexpr size_t kLengthPrefix = 0x7f;
constexpr int kLengthShiftMax = 28;  // gRPC refuses longer ones

}  // namespace

void FieldCounter::Feed(ByteSpan bytes) {
  while (!bytes.empty()) {
    if (skip_bytes_ > 0) {
      const size_t skipped = std::min(skip_bytes_, bytes.size());
      skip_bytes_ -= skipped;
      bytes.remove_prefix(skipped);
      continue;
    }
    FeedByte(bytes[0]);
    bytes.remove_prefix(1);
  }
}

void FieldCounter::FeedByte(uint8_t byte) {
  switch (part_) {
    case Part::kField:
      return BeginField(byte);
    case Part::kIndex:
      if ((byte & kMore) == 0) part_ = strings_left_ > 0 ? Part::kLength : Part::kField;
      return;
    case Part::kLength:
      length_ = byte & kLengthPrefix;
      length_shift_ = 0;
      if (length_ < kLengthPrefix) return SkipString(length_);
      part_ = Part::kLengthMore;
      return;
    case Part::kLengthMore:
      if (length_shift_ <= kLengthShiftMax) {
        length_ += static_cast<size_t>(byte & ~kMore) << length_shift_;
        length_shift_ += 7;
      }
      if ((byte & kMore) == 0) SkipString(length_);
  }
}

void FieldCounter::BeginField(uint8_t byte) {
  uint8_t index_bits = 0x0f;  // literals that are not indexed
  strings_left_ = 1;
  if ((byte & 0x80) != 0) {
    index_bits = 0x7f;
    strings_left_ = 0;
  } else if ((byte & 0x40) != 0) {
    index_bits = 0x3f;
  } else if ((byte & 0x20) != 0) {  // a change of the table's size
    index_bits = 0x1f;
    strings_left_ = 0;
  }
  ++count_;
  const uint8_t index = byte & index_bits;
  if (index == index_bits) {
    part_ = Part::kIndex;
  } else if (strings_left_ > 0) {
    if (index == 0) strings_left_ = 2;
    part_ = Part::kLength;
  }
}

void FieldCounter::SkipString(size_t bytes) {
  skip_bytes_ = bytes;
  --strings_left_;
  part_ = strings_left_ > 0 ? Part::kLength : Part::kField;
}

FrameGuard::FrameGuard(const Limits& limits, std::atomic<uint64_t>* large_message_bytes,
                       SharedResetBudgets* shared_resets, ResetPeer peer)
    : block_bytes_max_(limits.metadata_bytes_max + kBlockOverheadBytes),
      block_frames_max_(block_bytes_max_ / kFrameBytes + 1),
      block_fields_max_(block_bytes_max_ / kFieldOverheadBytes),
      payload_left_(kPrefaceBytes),
      messages_(limits.message_bytes_max, large_message_bytes),
      shared_resets_(shared_resets),
      peer_(std::move(peer)) {}

FrameGuard::Verdict FrameGuard::Feed(MutableByteSpan bytes, absl::Duration now) {
  while (!bytes.empty()) {
    if (payload_left_ > 0) {
      const size_t size = std::min(payload_left_, bytes.size());
      if (in_block_ && !FeedPayload(bytes.subspan(0, size))) return Verdict::kTooManyHeaders;
      if (in_data_) messages_.Feed(bytes.subspan(0, size));
      payload_left_ -= size;
      bytes.remove_prefix(size);
      if (payload_left_ == 0) EndFrame();
      continue;
    }
    frame_header_[frame_header_bytes_++] = bytes[0];
    bytes.remove_prefix(1);
    if (frame_header_bytes_ < kFrameHeaderBytes) continue;
    const Verdict verdict = BeginFrame(now);
    if (verdict != Verdict::kFine) return verdict;
  }
  return Verdict::kFine;
}

FrameGuard::Verdict FrameGuard::BeginFrame(absl::Duration now) {
  frame_header_bytes_ = 0;
  payload_left_ = static_cast<size_t>(frame_header_[0]) << 16 |
                  static_cast<size_t>(frame_header_[1]) << 8 | frame_header_[2];
  const uint8_t type = frame_header_[3];
  in_block_ = type == kHeaders || type == kContinuation;
  if (in_block_ && !BeginBlockFrame(type == kHeaders)) return Verdict::kTooManyHeaders;
  if (type == kResetStream && !TakeReset(now)) return Verdict::kTooManyResets;
  const uint32_t stream = LoadBigEndian<uint32_t>(&frame_header_[5]) & kStreamBits;
  if (type == kResetStream) messages_.Forget(stream);
  in_data_ = type == kData;
  if (in_data_) messages_.BeginData(stream);
  if (payload_left_ == 0) EndFrame();
  return Verdict::kFine;
}

void FrameGuard::EndFrame() {
  if (!std::exchange(in_data_, false)) return;
  messages_.EndData((frame_header_[4] & kEndStream) != 0);
}

bool FrameGuard::BeginBlockFrame(bool is_first) {
  if (is_first) {
    block_bytes_ = 0;
    block_frames_ = 0;
    fields_.Begin();
    priority_left_ = (frame_header_[4] & kHasPriority) != 0 ? kPriorityBytes : 0;
  }
  block_bytes_ += payload_left_;
  ++block_frames_;
  return block_bytes_ <= block_bytes_max_ && block_frames_ <= block_frames_max_;
}

bool FrameGuard::FeedPayload(ByteSpan bytes) {
  const size_t priority = std::min(priority_left_, bytes.size());
  priority_left_ -= priority;
  bytes.remove_prefix(priority);
  fields_.Feed(bytes);
  return fields_.count() <= block_fields_max_;
}

bool FrameGuard::TakeReset(absl::Duration now) {
  return resets_.Take(now) && shared_resets_->Take(peer_, now);
}

}  // namespace mayfly
