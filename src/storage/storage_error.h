// What an error of storage means for those above it.
//
//   kFailed      Nobody knows what the disk holds. The process ends, and recovers from what is there.
//   kFenced      Another process owns the shard, and nothing was written. The shard is dropped.
//   kUncertain   The write was done or not. The shard is dropped; its next owner finds out.
//   kUnreadable  This row, and nothing else: the calls it was for are refused.
//
// store/failure.h acts on it. No write is retried, whatever the kind; an error
// after which nothing was written (no descriptor, no room to grow a file) is none of these.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"

namespace mayfly {

enum class StorageErrorKind : uint8_t { kFailed, kFenced, kUncertain, kUnreadable };

inline constexpr absl::string_view kStorageErrorUrl = "mayfly/storage_error";

inline absl::Status WithKind(absl::Status status, StorageErrorKind kind) {
  const char text = static_cast<char>('0' + static_cast<int>(kind));
  status.SetPayload(kStorageErrorUrl, absl::Cord(absl::string_view(&text, 1)));
  return status;
}

// kFailed for an error that does not say: the safe side.
inline StorageErrorKind KindOf(const absl::Status& status) {
  const auto text = status.GetPayload(kStorageErrorUrl);
  if (!text.has_value() || text->empty()) return StorageErrorKind::kFailed;
  return static_cast<StorageErrorKind>((*text)[0] - '0');
}

}  // namespace mayfly
