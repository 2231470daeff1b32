// The time that a call may take, counted on a clock that no one sets.
#pragma once

#include <algorithm>
#include <chrono>

#include "absl/time/time.h"

#include "base/clock.h"

namespace mayfly::client {

// Since some time in the past; never goes back.
inline absl::Duration Elapsed() {
  static SystemClock clock;
  return clock.Read().boottime;
}

// gRPC takes points of time and turns them into durations at once.
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
