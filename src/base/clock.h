// The clocks of the machine, behind a seam: nothing else here asks the kernel what time it is,
// so a test can move either clock by hand.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace mayfly {

// One reading of both clocks.
struct ClockReading {
  absl::Time wall;          // CLOCK_REALTIME: may jump either way
  absl::Duration boottime;  // CLOCK_BOOTTIME: since boot, suspension included; never goes back
  // The kernel said, within the last second, that a time service disciplines the wall clock.
  bool synchronised = false;
};

class Clock {
 public:
  virtual ~Clock() = default;
  virtual ClockReading Read() = 0;
  // Changes at every boot of the machine, and only then.
  virtual std::string BootId() = 0;
};

// The machine's own clocks. Thread-safe.
class SystemClock : public Clock {
 public:
  ClockReading Read() override;
  std::string BootId() override;

 private:
  std::atomic<int64_t> next_check_ms_{INT64_MIN};  // of boottime
  std::atomic<bool> synchronised_{false};
};

}  // namespace mayfly
