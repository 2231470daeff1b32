// The store's one answer to what time it is: a Timekeeper fed from the machine's clocks, its
// record kept in storage. Thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "base/clock.h"
#include "base/mutex.h"
#include "base/now.h"
#include "retention/timekeeper.h"
#include "storage/registry.h"

namespace mayfly {

class TimeSource {
 public:
  // Goes on from the record in storage. A damaged record counts as none.
  static absl::StatusOr<std::unique_ptr<TimeSource>> Start(Clock* clock, Registry* registry,
                                                           absl::Duration clock_jump_grace);

  Now Read() EXCLUDES_LOCK(mutex_);
  // Writes the record; to be called every few seconds, and at the end.
  absl::Status Persist() EXCLUDES_LOCK(mutex_);
  // By how much the wall clock is ahead of steady, while that is more than may be.
  std::optional<absl::Duration> disagreement() EXCLUDES_LOCK(mutex_);

 private:
  TimeSource(Clock* clock, Registry* registry, Timekeeper timekeeper)
      : clock_(clock), registry_(registry), timekeeper_(std::move(timekeeper)) {}

  Clock* const clock_;
  Registry* const registry_;
  Mutex mutex_;
  Timekeeper timekeeper_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
