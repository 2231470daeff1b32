// The pause before an attempt is repeated.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"

#include "client/random.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

// After `attempts` failed attempts in a row, counted from 0.
inline absl::Duration PauseAfter(int attempts, const RetryPolicy& policy) {
  constexpr int kDoublingsMax = 30;
  const int64_t factor = int64_t{1} << std::min(attempts, kDoublingsMax);
  const absl::Duration longest = std::min(policy.delay_max, policy.delay_min * factor);
  return longest * (1 - RandomFraction() / 2);
}

}  // namespace mayfly::client
