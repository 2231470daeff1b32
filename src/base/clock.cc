#include "base/clock.h"

#include <fstream>
#include <time.h>

#include "absl/time/clock.h"
#include <sys/timex.h>

namespace mayfly {

namespace {

// adjtimex is a system call, the clocks are not.
constexpr absl::Duration kSynchronisedCheckInterval = absl::Seconds(1);

bool IsSynchronised() {
  timex state{};
  const int sync_state = adjtimex(&state);
  return sync_state != -1 && sync_state != TIME_ERROR && !(state.status & STA_UNSYNC);
}

}  // namespace

ClockReading SystemClock::Read() {
  timespec boottime{};
  clock_gettime(CLOCK_BOOTTIME, &boottime);
  const absl::Duration now = absl::DurationFromTimespec(boottime);
  const int64_t now_ms = absl::ToInt64Milliseconds(now);
  int64_t check_ms = next_check_ms_.load(std::memory_order_relaxed);
  if (now_ms >= check_ms &&
      next_check_ms_.compare_exchange_strong(
          check_ms, now_ms + absl::ToInt64Milliseconds(kSynchronisedCheckInterval))) {
    synchronised_.store(IsSynchronised(), std::memory_order_relaxed);
  }
  return ClockReading{
      .wall = absl::Now(),
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
