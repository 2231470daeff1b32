// A RateLimiter enforces each tenant's limit of operations per second, with a token bucket per
// tenant that holds one second's worth of operations.
//
// A batch counts as many operations as it has items. A batch larger than the bucket is admitted
// when the bucket is full, and leaves a debt that must be refilled first. So a low limit delays
// large batches but never blocks them for ever. O(1) per request. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "base/mutex.h"

namespace mayfly {

class RateLimiter {
 public:
  // Takes `count` operations of `tenant` at the monotonic time `now`, or none: RESOURCE_EXHAUSTED
  // (QUOTA_RATE) with the delay after which the same request would be admitted.
  absl::Status Take(absl::string_view tenant, uint64_t operations_per_second_max, uint64_t count,
                    absl::Duration now) EXCLUDES_LOCK(mutex_);

 private:
  struct Bucket {
    double tokens = 0;  // below zero: a debt
    absl::Duration filled;
  };

  Mutex mutex_;
  std::map<std::string, Bucket, std::less<>> buckets_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
