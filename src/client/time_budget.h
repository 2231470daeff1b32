// The time that a call may take, counted on a clock that no one sets.
#pragma once

#include <algorithm>

#include "absl/time/time.h"

#include "base/clock.h"

namespace mayfly::client {

class TimeBudget {
 public:
  explicit TimeBudget(absl::Duration total) : total_(total), end_(Elapsed() + total) {}

  absl::Duration total() const { return total_; }
  // Never negative.
  absl::Duration Left() const { return std::max(absl::ZeroDuration(), end_ - Elapsed()); }

 private:
  static absl::Duration Elapsed() { return SystemClock().Read().boottime; }

  absl::Duration total_;
  absl::Duration end_;
};

}  // namespace mayfly::client
