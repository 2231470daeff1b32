// UploadTurns decides which uploads get room on the disk when there is not enough for all of them.
//
// The size of an upload need not be known when it begins, so several may have begun that fit alone and
// not together. If each kept what it has and was refused the rest, none would ever be finished. So:
//
//   an upload that gets no room   waits, and is short until it gets some, ends, or has not asked for
//                                 kForgetMs. One that is alone is refused
//   the youngest upload           gives way: it is erased, and its room comes back. The next one gives
//                                 way kReclaimMs later, if there is still no room
//   while one is short            younger ones wait, and new ones are refused
//
// The oldest upload never gives way to another, so it is finished if it fits on the disk at all; then the
// next oldest is. Times are elapsed time. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"

#include "base/mutex.h"

namespace mayfly {

class UploadTurns {
 public:
  // How long one waits for room.
  static constexpr int64_t kForgetMs = 10'000;
  // Room comes back with a flush and a compaction.
  static constexpr int64_t kReclaimMs = 5'000;

  // What comes of a lack of room.
  struct Shortage {
    bool waits = false;                 // the upload that asked; else it is refused
    std::optional<uint64_t> gives_way;  // the one that is to be erased, perhaps that upload
  };

  // An upload has begun. Returns its number; those of younger ones are higher.
  uint64_t Enter() EXCLUDES_LOCK(mutex_);
  void Leave(uint64_t number) EXCLUDES_LOCK(mutex_);

  // Whether this upload may ask for room; else it waits. Whether another one may begin.
  bool MayTake(uint64_t number) const EXCLUDES_LOCK(mutex_);
  bool MayBegin(int64_t now_ms) const EXCLUDES_LOCK(mutex_);

  // The upload got what it asked for, or did not.
  void OnRoom(uint64_t number) EXCLUDES_LOCK(mutex_);
  Shortage OnNoRoom(uint64_t number, int64_t now_ms) EXCLUDES_LOCK(mutex_);

  // Forgets who has not asked for kForgetMs. To be called about every second.
  void Forget(int64_t now_ms) EXCLUDES_LOCK(mutex_);

 private:
  // Whether the room of the last one that gave way may not be back yet.
  bool IsReclaiming(int64_t now_ms) const REQUIRES_LOCK(mutex_) {
    return gave_way_ms_.has_value() && now_ms < *gave_way_ms_ + kReclaimMs;
  }

  mutable Mutex mutex_;
  uint64_t last_number_ GUARDED_BY(mutex_) = 0;
  absl::btree_set<uint64_t> uploads_ GUARDED_BY(mutex_);         // that have not given way
  absl::btree_map<uint64_t, int64_t> short_ GUARDED_BY(mutex_);  // when they asked last
  std::optional<int64_t> gave_way_ms_ GUARDED_BY(mutex_);        // when the last one did
};

}  // namespace mayfly
