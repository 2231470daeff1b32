// A RowCache keeps the ciphertext of rows that were committed lately: workers and clients read them
// within moments, and then RocksDB need not be searched nor the row copied out of it.
//
// Bounded; beyond that what was stored first leaves first. Keyed by the slot's generation, which no
// two payloads share, so an entry cannot be another's. Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>

#include "absl/container/flat_hash_map.h"

#include "base/mutex.h"
#include "base/slot_ref.h"
#include "storage/sealed.h"

namespace mayfly {

class RowCache {
 public:
  // At most `bytes_max` of ciphertext. 0 keeps nothing.
  explicit RowCache(size_t bytes_max);
  RowCache(const RowCache&) = delete;
  RowCache& operator=(const RowCache&) = delete;

  void Store(SlotRef slot, Sealed row);
  std::optional<Sealed> Find(SlotRef slot);
  void Remove(SlotRef slot);

 private:
  static constexpr size_t kPartCount = 16;
  // A row counts as at least this much, so that the bound holds for tiny ones too.
  static constexpr size_t kRowBytesMin = 256;

  struct Part {
    Mutex mutex;
    absl::flat_hash_map<uint64_t, Sealed> rows GUARDED_BY(mutex);
    // In the order of arrival; those removed since are still in here.
    std::deque<uint64_t> arrivals GUARDED_BY(mutex);
    size_t bytes GUARDED_BY(mutex) = 0;
  };

  Part& PartOf(SlotRef slot) { return parts_[slot.generation % kPartCount]; }
  static void RemoveFrom(Part* part, uint64_t generation) REQUIRES_LOCK(part->mutex);

  const size_t part_bytes_max_;
  std::array<Part, kPartCount> parts_;
};

}  // namespace mayfly
