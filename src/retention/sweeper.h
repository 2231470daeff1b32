// The Sweeper finds payloads that are past their deadline and submits them for erasure, in bounded
// batches.
//
// It has two rings. The outer one is on disk: the deadlines family, with every stored payload in
// the order of its due second. The inner one is a TimerWheel in memory with the payloads due within
// the next few seconds. The sweeper loads the next stretch from disk shortly before its time. The
// store adds new payloads with a deadline in a stretch that is already loaded. So memory does not
// grow with the number of live calls, and a restart has nothing to rebuild.
//
//   resource                    bound
//   look-ahead                  kLookAhead seconds of deadlines
//   payloads in memory          kLoadedMax, however many fall due at once; the rest stay on disk
//   one Advance                 one batch to the sink, one page from disk
//
// Its time is now.erase_ms, so nothing is due while the clocks are in doubt. That time may jump in
// either direction. After a jump ahead, due payloads are loaded page by page, as at start; after a
// jump back, everything is loaded again. Reads reject a payload at its deadline by themselves, so a
// late sweep delays erasure but exposes nothing.
//
// Owns no thread and reads no clock. Call Advance from one thread; OnStored and lag_ms from any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"

#include "base/mutex.h"
#include "base/now.h"
#include "retention/due.h"
#include "retention/timer_wheel.h"

namespace mayfly {

class Sweeper {
 public:
  static constexpr int64_t kLookAheadS = 2;
  static constexpr size_t kLoadedMax = 64 << 10;
  static constexpr int64_t kRetryMs = 1000;

  // Submits at most `batch_max` payloads to the sink at a time.
  Sweeper(DueSource* source, ExpirySink* sink, size_t batch_max);

  // Loads what is necessary and submits one batch of due payloads to the sink, which may block.
  // Returns true if there may be more work at once. If the source fails, the next call retries.
  // Payloads that the sink refuses are submitted again after kRetryMs.
  absl::StatusOr<bool> Advance(const Now& now) EXCLUDES_LOCK(mutex_);

  // A payload was stored: it is added to the wheel if its second is already loaded.
  void OnStored(const DuePayload& payload) EXCLUDES_LOCK(mutex_);

  // The age past its deadline of the oldest due payload that was not submitted; 0 if there is none.
  int64_t lag_ms(const Now& now) EXCLUDES_LOCK(mutex_);

 private:
  static constexpr int64_t kNothingLoaded = -1;

  void MoveTo(int64_t now_ms) EXCLUDES_LOCK(mutex_);
  absl::StatusOr<bool> LoadPage(int64_t now_s) EXCLUDES_LOCK(mutex_);
  void Hold(const DuePayload& payload, int64_t due_ms) REQUIRES_LOCK(mutex_);
  void HoldAgain(absl::Span<const DuePayload> refused) EXCLUDES_LOCK(mutex_);

  DueSource* const source_;
  ExpirySink* const sink_;
  const size_t batch_max_;

  Mutex mutex_;
  std::optional<TimerWheel> wheel_ GUARDED_BY(mutex_);  // set at the first trusted time
  std::vector<DuePayload> held_ GUARDED_BY(mutex_);     // by the wheel's id
  std::vector<uint64_t> free_ GUARDED_BY(mutex_);       // unused places in held_
  // Everything due up to this second was loaded, or is being loaded after `cursor_`.
  int64_t loaded_until_s_ GUARDED_BY(mutex_) = kNothingLoaded;
  int64_t present_ms_ GUARDED_BY(mutex_) = 0;  // of the latest Advance
  int64_t swept_ms_ GUARDED_BY(mutex_) = 0;    // payloads with deadlines up to here were submitted
  int64_t retry_ms_ GUARDED_BY(mutex_) = 0;    // refused payloads are submitted again then

  // Used by Advance only: the last page read of a stretch that is not fully loaded.
  int64_t stretch_from_s_ = 0;
  std::optional<DuePayload> cursor_;
  bool stretch_is_loaded_ = true;
};

}  // namespace mayfly
