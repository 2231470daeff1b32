// The current time for the rules of call/. It has three values, because two clocks may disagree,
// and a wrong one must neither destroy live data nor keep data past its day. A fourth value is for
// durations.
//
// The three are milliseconds since the Unix epoch. retention/timekeeper.h computes them from the
// wall clock and from *steady* (an anchor plus the CLOCK_BOOTTIME since). While the clocks are
// right, all three are equal up to its tolerance. A deadline has passed for a value when it is <=
// that value.
#pragma once

#include <cstdint>
#include <limits>

namespace mayfly {

struct Now {
  // The erase_ms at which nothing may be destroyed: no deadline is <= it.
  static constexpr int64_t kNeverMs = std::numeric_limits<int64_t>::min();

  // Reads compare deadlines with this. It is the later of the two clocks, so that reads are
  // rejected as soon as either clock is past the deadline. It decreases when a wrong clock is
  // corrected.
  int64_t read_ms = 0;
  // Destruction compares deadlines with this. It is the earlier of the two clocks, so that both
  // must be past the deadline, and kNeverMs while the clock is not trusted after a boot. Never
  // above read_ms. It decreases when a wrong clock is corrected.
  int64_t erase_ms = kNeverMs;
  // New deadlines, tombstones and the id window are computed from this. It advances with
  // CLOCK_BOOTTIME and jumps only when it is re-anchored.
  int64_t steady_ms = 0;
  // CLOCK_BOOTTIME since the process started, including suspension. Durations (leases, waits, idle
  // timeouts) are measured with this: it never decreases, and setting a clock does not change it.
  int64_t elapsed_ms = 0;
};

}  // namespace mayfly
