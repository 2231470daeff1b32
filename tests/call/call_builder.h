// Builds states and operations for the tests of call/, at one fixed time.
#pragma once

#include <cstdint>
#include <utility>

#include "call/apply.h"

namespace mayfly {

// A comparer that answers as it is told.
class FixedAnswer : public ContentComparer {
 public:
  explicit FixedAnswer(absl::StatusOr<bool> same) : same_(std::move(same)) {}
  absl::StatusOr<bool> SameContent(const StoredPayload&) const override { return same_; }

 private:
  const absl::StatusOr<bool> same_;
};

inline const FixedAnswer kSameContent(true);
inline const FixedAnswer kOtherContent(false);

constexpr int64_t kSecond = 1000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kLease = 30 * kSecond;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kNow = 1'700'000'000'000;

// Both clocks right, and the limits that a configuration has by default.
inline ApplyContext ContextAt(int64_t now_ms) {
  return ApplyContext{
      .now = {.read_ms = now_ms, .erase_ms = now_ms, .steady_ms = now_ms, .elapsed_ms = now_ms},
      .max_ttl_ms = 24 * kHour,
      .dead_before_ms = 0,
      .tombstone_ttl_ms = 15 * kMinute,
      .id_window_ms = 5 * kMinute,
      .lease_total_max_ms = kHour};
}

// A token that everybody's `number` has, and the hash that goes with it.
constexpr ClaimToken TokenOf(uint8_t number) { return ClaimToken{number, 0xC1}; }
constexpr TokenHash HashOf(uint8_t number) { return TokenHash{number, 0x4A}; }

inline StoredPayload PayloadAt(int64_t stored_ms, int64_t deadline_ms, uint64_t generation,
                               uint32_t attempt = 0) {
  return StoredPayload{
      .slot = {.slot = static_cast<uint32_t>(generation % 1000), .generation = generation},
      .attempt = attempt,
      .size_bytes = 100,
      .stored_ms = stored_ms,
      .deadline_ms = deadline_ms,
      .segment_count = 0,
      .erased = false,
      .fingerprint = {}};
}

}  // namespace mayfly
