// An interface to the machine's clocks. No other code reads them, so a test can set either clock by
// hand.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace mayfly {

// One reading of both clocks.
struct ClockReading {
  absl::Time wall;          // CLOCK_REALTIME: may jump in either direction
  absl::Duration boottime;  // CLOCK_BOOTTIME: since boot, including suspension; never decreases
  // The kernel reported, within the last second, that a time service synchronises the wall clock.
  bool synchronised = false;
};

class Clock {
 public:
  virtual ~Clock() = default;
  virtual ClockReading Read() = 0;
  // Changes at every boot of the machine, and only then.
  virtual std::string BootId() = 0;
};

// The real clocks of the machine. Thread-safe.
class SystemClock : public Clock {
 public:
  ClockReading Read() override;
  std::string BootId() override;

 private:
  std::atomic<int64_t> next_check_ms_{INT64_MIN};  // of boottime
  std::atomic<bool> synchronised_{false};
};

}  // namespace mayfly
