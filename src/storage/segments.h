// Large payloads: their ciphertext, in segments.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/slot_ref.h"
#include "call/state.h"
#include "storage/sealed.h"

namespace mayfly {

// The largest payload that is kept in its row: longer ones go into segments.
inline constexpr uint64_t kInlineBytesMax = 64 << 10;
// Plaintext bytes of every segment but the last.
inline constexpr uint64_t kSegmentBytes = 1 << 20;

struct SegmentsRef {
  CallKey key;
  SlotRef slot;
  uint32_t count = 0;
};

// Thread-safe.
class Segments {
 public:
  virtual ~Segments() = default;

  // Segments are written ahead of the row that makes them visible, in order; the row's Sync covers
  // them. Those of an upload are there after a kill from now on, and after a loss of power from the
  // next SyncRecord on. `deadline_ms` is the payload's: those that end together lie together.
  // RESOURCE_EXHAUSTED (DISK_FULL) when there is no room: nothing was written then, and it may be
  // tried again.
  virtual absl::Status WriteSegment(const CallKey& key, SlotRef slot, uint32_t number,
                                    int64_t deadline_ms, const Sealed& segment) = 0;
  virtual absl::StatusOr<Sealed> ReadSegment(const CallKey& key, SlotRef slot, uint32_t number) = 0;
  // For a payload that was refused; committed ones lose theirs with their row.
  virtual absl::Status RemoveSegments(const SegmentsRef& segments) = 0;
};

}  // namespace mayfly
