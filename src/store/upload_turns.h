// UploadTurns decides which uploads may take room on the disk when there is not enough for all of them.
//
// The size of an upload need not be known when it begins, so several may have begun that fit alone and
// not together. If each kept what it has and was refused the rest, none would ever be finished. So the
// oldest comes first:
//
//   an upload is short             from a refusal for lack of room until it gets some, ends, or has not
//                                  asked for kForgetMs
//   while it is short              younger ones get no room, and new ones do not begin
//   when it is refused room        the youngest upload gives way: it is erased, and its room comes back;
//                                  the next one not before kReclaimMs have passed
//
// The oldest upload never gives way, so it is finished if it fits on the disk at all; then the next
// oldest is. Times are elapsed time. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"

#include "base/mutex.h"

namespace mayfly {

class UploadTurns {
 public:
  // Clients that were refused retry after about a second.
  static constexpr int64_t kForgetMs = 10'000;
  // Room comes back with a flush and a compaction.
  static constexpr int64_t kReclaimMs = 5'000;

  // An upload has begun. Returns its number; those of younger ones are higher.
  uint64_t Enter() EXCLUDES_LOCK(mutex_);
  void Leave(uint64_t number) EXCLUDES_LOCK(mutex_);

  // Whether this upload may ask for room, and whether another may begin.
  bool MayTake(uint64_t number) const EXCLUDES_LOCK(mutex_);
  bool MayBegin() const EXCLUDES_LOCK(mutex_);

  // The upload got what it asked for.
  void OnRoom(uint64_t number) EXCLUDES_LOCK(mutex_);
  // It did not. Returns the upload that is to give way, if one is.
  std::optional<uint64_t> OnNoRoom(uint64_t number, int64_t now_ms) EXCLUDES_LOCK(mutex_);

  // Forgets who has not asked for kForgetMs. To be called about every second.
  void Forget(int64_t now_ms) EXCLUDES_LOCK(mutex_);

 private:
  mutable Mutex mutex_;
  uint64_t last_number_ GUARDED_BY(mutex_) = 0;
  absl::btree_set<uint64_t> uploads_ GUARDED_BY(mutex_);
  absl::btree_map<uint64_t, int64_t> short_ GUARDED_BY(mutex_);  // when they asked last
  std::optional<int64_t> gave_way_ms_ GUARDED_BY(mutex_);        // when the last one did
};

}  // namespace mayfly
