// The limits of the server by which the client splits requests.
#pragma once

#include <cstddef>

#include "absl/time/time.h"

namespace mayfly::client {

inline constexpr size_t kBatchItemsMax = 512;              // limits.batch_items_max
inline constexpr size_t kMessageBytesMax = 64u << 20;      // limits.message_bytes_max
inline constexpr size_t kSegmentBytes = 1 << 20;           // of Upload and Download
inline constexpr size_t kStreamSubscriptionsMax = 65'536;  // limits.stream_subscriptions_max
inline constexpr absl::Duration kPollWaitMax = absl::Seconds(55);  // claims.wait_max

// The largest size of an item without its data: 1 KiB of labels, 255 bytes each of content type and
// key id, call id, ttl, and the framing of all of these.
inline constexpr size_t kItemOverheadBytesMax = 2048;
// By how much a response may exceed the limit when its payload bytes reach it.
inline constexpr size_t kEnvelopeBytesMax = kBatchItemsMax * kItemOverheadBytesMax;

// Larger ones would hold up the others of a session: they are sent by RPCs of their own.
inline constexpr size_t kSessionRequestBytesMax = 1 << 20;
inline constexpr size_t kSessionResponseDataBytesMax = 4 << 20;

}  // namespace mayfly::client
