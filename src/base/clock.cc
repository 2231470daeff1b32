#include "base/clock.h"

#include <fstream>
#include <time.h>

#include <sys/timex.h>

namespace mayfly {

namespace {

// adjtimex is a system call; reading the clocks is not.
constexpr absl::Duration kSynchronisedCheckInterval = absl::Seconds(1);
// The two clocks are read within this time of each other, unless every attempt is interrupted.
constexpr absl::Duration kReadingGapMax = absl::Milliseconds(1);
constexpr int kReadingAttempts = 4;

timespec ReadClock(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return time;
}

bool IsSynchronised() {
  timex state{};
  const int sync_state = adjtimex(&state);
  return sync_state != -1 && sync_state != TIME_ERROR && !(state.status & STA_UNSYNC);
}

}  // namespace

// Reads from the kernel each time: absl::Now() extrapolates from a reading that is up to two
// seconds old, so it notices a change of the wall clock that much later.
ClockReading SystemClock::Read() {
  absl::Time wall;
  absl::Duration now;
  // If the process is stopped between the two readings, the pause would look like a jump of the
  // wall clock.
  for (int attempt = 0; attempt < kReadingAttempts; ++attempt) {
    const timespec before = ReadClock(CLOCK_BOOTTIME);
    wall = absl::TimeFromTimespec(ReadClock(CLOCK_REALTIME));
    now = absl::DurationFromTimespec(ReadClock(CLOCK_BOOTTIME));
    if (now - absl::DurationFromTimespec(before) <= kReadingGapMax) break;
  }
  const int64_t now_ms = absl::ToInt64Milliseconds(now);
  int64_t check_ms = next_check_ms_.load(std::memory_order_relaxed);
  if (now_ms >= check_ms &&
      next_check_ms_.compare_exchange_strong(
          check_ms, now_ms + absl::ToInt64Milliseconds(kSynchronisedCheckInterval))) {
    synchronised_.store(IsSynchronised(), std::memory_order_relaxed);
  }
  return ClockReading{
      .wall = wall,
      .boottime = now,
      .synchronised = synchronised_.load(std::memory_order_relaxed),
  };
}

std::string SystemClock::BootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

}  // namespace mayfly
