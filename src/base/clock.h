// The clocks of the machine, behind a seam: nothing else here asks the kernel what time it is,
// so a test can move either clock by hand.
#pragma once

#include <string>

#include "absl/time/time.h"

namespace mayfly {

// One reading of both clocks.
struct ClockReading {
  absl::Time wall;         // CLOCK_REALTIME: may jump either way
  absl::Duration boottime;  // CLOCK_BOOTTIME: since boot, suspension included; never goes back
  bool synchronised = false;  // the kernel says that a time service disciplines the wall clock
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
};

}  // namespace mayfly
