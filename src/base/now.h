// What time it is, as the rules see it: three answers, because two clocks may disagree and a wrong
// one must neither destroy live data nor keep data past its day; and a fourth for durations.
//
// The three are milliseconds since the Unix epoch. retention/timekeeper.h makes them from the wall
// clock and from *steady* (an anchor plus CLOCK_BOOTTIME since). While the clocks are right all
// three are equal up to its tolerance. A deadline has passed for one of them when it is <= that
// answer.
#pragma once

#include <cstdint>
#include <limits>

namespace mayfly {

struct Now {
  // An erase_ms at which nothing may be destroyed: no deadline is <= it.
  static constexpr int64_t kNeverMs = std::numeric_limits<int64_t>::min();

  // What reads compare deadlines with: the later of the two readings, so that a payload is refused
  // as soon as either clock says that its time is over. Goes back when a wrong clock is corrected.
  int64_t read_ms = 0;
  // What destruction compares deadlines with: the earlier of the two readings, so that both clocks
  // must say so, and kNeverMs while the clock is not to be trusted after a boot. Never above
  // read_ms. Goes back when a wrong clock is corrected.
  int64_t erase_ms = kNeverMs;
  // What new deadlines, tombstones and the window around call ids are computed from. Advances with
  // CLOCK_BOOTTIME and jumps only when it is anchored anew.
  int64_t steady_ms = 0;
  // How long the process has run, suspension included: no time of day. Durations are measured on
  // it (leases, waits, idle timeouts), since it never goes back and no setting of a clock moves it.
  int64_t elapsed_ms = 0;
};

}  // namespace mayfly
