// A RateLimiter holds each tenant to its operations per second: a token bucket per tenant, with one
// second's worth of burst.
//
// A batch counts as many operations as it has items. One that is larger than the bucket is let
// through when the bucket is full, and leaves a debt that must be paid back first: so a low limit
// slows large batches down, and never shuts them out. O(1) per request. Thread-safe.
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
  // Takes `count` operations of `tenant` at the time `now`, a monotonic reading, or nothing:
  // RESOURCE_EXHAUSTED (QUOTA_RATE) with the delay after which the same would be let through.
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
