// How many RPCs are between their arrival and the sending of their answer. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace mayfly {

class InFlight {
 public:
  void Enter() { count_.fetch_add(1, std::memory_order_relaxed); }
  void Leave() { count_.fetch_sub(1, std::memory_order_release); }

  // Waits until there are none, at most `timeout`. It looks again and again, so that the RPCs pay
  // for no lock that is needed once in the life of a server.
  void WaitForNone(absl::Duration timeout) const {
    const absl::Time end = absl::Now() + timeout;
    while (count_.load(std::memory_order_acquire) > 0 && absl::Now() < end) {
      absl::SleepFor(absl::Milliseconds(5));
    }
  }

 private:
  std::atomic<int64_t> count_{0};
};

}  // namespace mayfly
