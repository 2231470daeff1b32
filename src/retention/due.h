// The interfaces between sweeper and store: the source of due payloads, and the sink that erases
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "call/state.h"

namespace mayfly {

// The second at which the sweep erases a payload: never before its deadline.
constexpr int64_t DueSecond(int64_t deadline_ms) { return (deadline_ms + 999) / 1000; }

// One payload and its due second, as stored in the deadlines family. Times are steady time.
struct DuePayload {
  int64_t due_s = 0;  // the deadline, rounded up to a second
  CallKey key;
  PayloadKind kind = PayloadKind::kInput;
  SlotRef slot;
  uint64_t size_bytes = 0;
  int64_t stored_ms = 0;
};

inline DuePayload DueOf(const CallKey& key, PayloadKind kind, const StoredPayload& payload) {
  return {.due_s = DueSecond(payload.deadline_ms),
          .key = key,
          .kind = kind,
          .slot = payload.slot,
          .size_bytes = payload.size_bytes,
          .stored_ms = payload.stored_ms};
}

// The outer ring: every stored payload, ordered by due second. Thread-safe.
class DueSource {
 public:
  virtual ~DueSource() = default;
  // Up to `limit` payloads due in seconds [from_s, until_s], in order; if `after` is given, only
  // those after it. Fewer than `limit` means that there are no more.
  virtual absl::StatusOr<std::vector<DuePayload>> Due(int64_t from_s, int64_t until_s, size_t limit,
                                                      const std::optional<DuePayload>& after) = 0;
};

// Erases due payloads. Expire may be called again for the same payload: the rules of call/ decide,
// and ignore a payload that is already gone.
class ExpirySink {
 public:
  virtual ~ExpirySink() = default;
  // Returns those that could not be taken now, to be handed over again later.
  virtual std::vector<DuePayload> Expire(absl::Span<const DuePayload> due) = 0;
};

}  // namespace mayfly
