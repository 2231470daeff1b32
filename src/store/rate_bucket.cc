#include "store/rate_bucket.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "base/error.h"

namespace mayfly {

absl::Status RateBucket::Take(uint64_t operations_per_second_max, uint64_t count,
                              absl::Duration now) {
  const double rate = static_cast<double>(operations_per_second_max);
  const double wanted = static_cast<double>(count);
  MutexLock lock(&mutex_);
  if (!tokens_.has_value()) {
    tokens_ = rate;
    filled_ = now;
  }
  if (now > filled_) {
    tokens_ = std::min(rate, *tokens_ + rate * absl::ToDoubleSeconds(now - filled_));
    filled_ = now;
  }
  const double missing = std::min(wanted, rate) - *tokens_;
  if (missing > 0) {
    return WithRetryDelay(MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaRate,
                                    absl::StrCat("the tenant's operations exceed its limit, ",
                                                 operations_per_second_max, " per second")),
                          // Rounded up: a retry slightly too early would be rejected again.
                          absl::Ceil(absl::Seconds(missing / rate), absl::Milliseconds(1)));
  }
  *tokens_ -= wanted;
  return absl::OkStatus();
}

}  // namespace mayfly
