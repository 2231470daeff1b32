// A clock that stands still until a test moves it. Thread-safe.
#pragma once

#include <string>

#include "absl/time/time.h"

#include "base/clock.h"
#include "base/mutex.h"

namespace mayfly {

class ManualClock : public Clock {
 public:
  explicit ManualClock(absl::Time wall = absl::FromUnixSeconds(1'800'000'000)) {
    reading_.wall = wall;
    reading_.boottime = absl::Hours(1);
    reading_.synchronised = true;
  }

  ClockReading Read() override {
    MutexLock lock(&mutex_);
    return reading_;
  }
  std::string BootId() override {
    MutexLock lock(&mutex_);
    return boot_id_;
  }

  // Time goes by.
  void Advance(absl::Duration duration) {
    MutexLock lock(&mutex_);
    reading_.wall += duration;
    reading_.boottime += duration;
  }
  // Somebody sets the wall clock.
  void JumpWall(absl::Duration duration) {
    MutexLock lock(&mutex_);
    reading_.wall += duration;
  }
  // CLOCK_BOOTTIME alone, as it looks to who did not run meanwhile and whose wall clock was set.
  void JumpBoottime(absl::Duration duration) {
    MutexLock lock(&mutex_);
    reading_.boottime += duration;
  }
  void SetSynchronised(bool synchronised) {
    MutexLock lock(&mutex_);
    reading_.synchronised = synchronised;
  }
  // The machine starts anew.
  void Reboot(const std::string& boot_id) {
    MutexLock lock(&mutex_);
    boot_id_ = boot_id;
    reading_.boottime = absl::Seconds(10);
  }

 private:
  Mutex mutex_;
  ClockReading reading_ GUARDED_BY(mutex_);
  std::string boot_id_ GUARDED_BY(mutex_) = "boot-1";
};

}  // namespace mayfly
