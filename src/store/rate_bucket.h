// A RateBucket enforces one tenant's limit of operations per second. It holds one second's worth of
// operations.
//
// A batch counts as many operations as it has items. A batch larger than the bucket is admitted
// when the bucket is full, and leaves a debt that must be refilled first. So a low limit delays
// large batches but never blocks them for ever. O(1) per request. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "base/mutex.h"

namespace mayfly {

class RateBucket {
 public:
  // Takes `count` operations at the monotonic time `now`, or none: RESOURCE_EXHAUSTED (QUOTA_RATE)
  // with the delay after which the same request would be admitted.
  absl::Status Take(uint64_t operations_per_second_max, uint64_t count, absl::Duration now)
      EXCLUDES_LOCK(mutex_);

 private:
  Mutex mutex_;
  std::optional<double> tokens_ GUARDED_BY(mutex_);  // below zero: a debt; full at first
  absl::Duration filled_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
