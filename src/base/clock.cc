#include "base/clock.h"

#include <sys/timex.h>
#include <time.h>

#include <fstream>

#include "absl/time/clock.h"

namespace mayfly {

ClockReading SystemClock::Read() {
  timespec boottime{};
  clock_gettime(CLOCK_BOOTTIME, &boottime);
  timex state{};
  const int sync_state = adjtimex(&state);
  return ClockReading{
      .wall = absl::Now(),
      .boottime = absl::DurationFromTimespec(boottime),
      .synchronised = sync_state != -1 && sync_state != TIME_ERROR && !(state.status & STA_UNSYNC),
  };
}

std::string SystemClock::BootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

}  // namespace mayfly
