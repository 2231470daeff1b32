#include "identity/rate_limiter.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "base/error.h"

namespace mayfly {

absl::Status RateLimiter::Take(absl::string_view tenant, uint64_t operations_per_second_max,
                               uint64_t count, absl::Duration now) {
  const double rate = static_cast<double>(operations_per_second_max);
  const double wanted = static_cast<double>(count);
  MutexLock lock(&mutex_);
  auto found = buckets_.find(tenant);
  if (found == buckets_.end()) {
    found = buckets_.emplace(tenant, Bucket{.tokens = rate, .filled = now}).first;
  }
  Bucket& bucket = found->second;
  if (now > bucket.filled) {
    bucket.tokens =
        std::min(rate, bucket.tokens + rate * absl::ToDoubleSeconds(now - bucket.filled));
    bucket.filled = now;
  }
  const double missing = std::min(wanted, rate) - bucket.tokens;
  if (missing > 0) {
    return WithRetryDelay(MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaRate,
                                    absl::StrCat("the tenant's operations exceed its limit, ",
                                                 operations_per_second_max, " per second")),
                          // Rounded up: a retry slightly too early would be rejected again.
                          absl::Ceil(absl::Seconds(missing / rate), absl::Milliseconds(1)));
  }
  bucket.tokens -= wanted;
  return absl::OkStatus();
}

}  // namespace mayfly
