// A CallIndex remembers which rows live calls have, so that most decisions read no disk.
//
// It stands before RocksDB and is only a cache: an entry says exactly which rows the database
// holds, a missing entry says nothing. Whether a row is alive is not remembered here, since the
// slot decides that. Calls with a tombstone are never in it.
//
// Bounded: beyond `calls_max` the clock algorithm (Corbato, 1968) makes room by giving up an entry
// that was not asked for lately. About 230 bytes a call. Thread-safe; locks are per part, and the
// committer of a call's shard finds its entry unchanged between two of its own calls.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "base/mutex.h"
#include "call/state.h"

namespace mayfly {

// The rows of a call that are in the database, dead or alive.
struct CallRows {
  std::optional<StoredPayload> input;
  std::optional<StoredPayload> output;

  bool empty() const { return !input && !output; }
};

class CallIndex {
 public:
  explicit CallIndex(size_t calls_max);
  CallIndex(const CallIndex&) = delete;
  CallIndex& operator=(const CallIndex&) = delete;

  std::optional<CallRows> Find(const CallKey& key);
  void Store(const CallKey& key, const CallRows& rows);
  void Remove(const CallKey& key);
  size_t size();

 private:
  static constexpr size_t kPartCount = 16;

  struct Entry {
    CallKey key;
    CallRows rows;
    bool used = false;      // since the hand went by
    bool occupied = false;  // false: on the free list
  };

  struct Part {
    Mutex mutex;
    absl::flat_hash_map<CallKey, uint32_t> places GUARDED_BY(mutex);
    std::vector<Entry> entries GUARDED_BY(mutex);
    std::vector<uint32_t> free GUARDED_BY(mutex);
    size_t hand GUARDED_BY(mutex) = 0;
  };

  Part& PartOf(const CallKey& key);
  uint32_t TakePlace(Part* part) REQUIRES_LOCK(part->mutex);

  const size_t part_calls_max_;
  std::array<Part, kPartCount> parts_;
};

}  // namespace mayfly
