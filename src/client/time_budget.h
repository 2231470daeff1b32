// The time that a call may take, by a monotonic clock.
#pragma once

#include <algorithm>
#include <chrono>

#include "absl/time/time.h"

#include "base/clock.h"

namespace mayfly::client {

// Time since an arbitrary start. It also counts while the machine is suspended.
inline absl::Duration Elapsed() {
  static SystemClock clock;
  return clock.Read().boottime;
}

// gRPC takes points in time, and converts them to durations at once.
inline std::chrono::system_clock::time_point FromNow(absl::Duration duration) {
  constexpr absl::Duration kLongest = absl::Hours(24 * 365);  // infinite does not fit
  return std::chrono::system_clock::now() +
         absl::ToChronoMicroseconds(std::min(duration, kLongest));
}

class TimeBudget {
 public:
  explicit TimeBudget(absl::Duration total) : total_(total), end_(Elapsed() + total) {}

  absl::Duration total() const { return total_; }
  absl::Duration end() const { return end_; }
  // Never negative.
  absl::Duration Left() const { return std::max(absl::ZeroDuration(), end_ - Elapsed()); }

 private:
  absl::Duration total_;
  absl::Duration end_;
};

}  // namespace mayfly::client
