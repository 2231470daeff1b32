// The Sweeper finds what is past its deadline and hands it over to be erased, in bounded batches.
//
// Two rings. The outer one is on disk: the deadlines family, every stored payload in the order of
// its due second. The inner one is a TimerWheel in memory, which holds only what falls due within
// the next few seconds: the sweeper loads the next stretch from disk shortly before its time, and
// the store adds what is stored with a deadline inside the stretch already loaded. So memory does
// not grow with the number of live calls, and a restart has nothing to rebuild.
//
//   what                        bound
//   look-ahead                  kLookAhead seconds of deadlines
//   payloads in memory          kLoadedMax, however many fall due at once; the rest stay on disk
//   one Advance                 one batch to the sink, one page from disk
//
// Time is now.erase_ms: nothing is due while the clocks are in doubt. It may jump either way. After a
// jump ahead what has fallen due is loaded page by page, as at start; after one back everything is
// loaded anew. Reads refuse a payload at its deadline by themselves, so a late sweep delays erasure,
// never exposes anything.
//
// Owns no thread and reads no clock. Advance belongs to one thread; OnStored and lag_ms to any.
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

  // At most `batch_max` payloads go to the sink at once.
  Sweeper(DueSource* source, ExpirySink* sink, size_t batch_max);

  // Loads what is to be loaded and hands one batch of what is due to the sink, which may take its
  // time. True when there may be more at once. An error of the source leaves all for the next try;
  // what the sink does not take is handed over again after kRetryMs.
  absl::StatusOr<bool> Advance(const Now& now) EXCLUDES_LOCK(mutex_);

  // A payload was stored: taken up here if its second was loaded already.
  void OnStored(const DuePayload& payload) EXCLUDES_LOCK(mutex_);

  // How far the oldest payload that is due and not handed over is past its time; 0 when none is.
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
  std::optional<TimerWheel> wheel_ GUARDED_BY(mutex_);  // from the first trusted time on
  std::vector<DuePayload> held_ GUARDED_BY(mutex_);     // by the wheel's id
  std::vector<uint64_t> free_ GUARDED_BY(mutex_);       // unused places in held_
  // Everything due up to this second was loaded, or is being loaded after `cursor_`.
  int64_t loaded_until_s_ GUARDED_BY(mutex_) = kNothingLoaded;
  int64_t present_ms_ GUARDED_BY(mutex_) = 0;  // the latest Advance's
  int64_t swept_ms_ GUARDED_BY(mutex_) = 0;    // deadlines up to here were handed over
  int64_t retry_ms_ GUARDED_BY(mutex_) = 0;    // what was refused is handed over again then

  // Advance's own: the page last read of a stretch that is not whole yet.
  int64_t stretch_from_s_ = 0;
  std::optional<DuePayload> cursor_;
  bool stretch_is_loaded_ = true;
};

}  // namespace mayfly
