// Counts the RPCs between their arrival and the sending of their response. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace mayfly {

class InFlight {
 public:
  void Enter() { count_.fetch_add(1, std::memory_order_relaxed); }
  void Leave() { count_.fetch_sub(1, std::memory_order_release); }

  // Waits until there are none, at most `timeout`. It polls, so that RPCs need no lock for an event
  // that happens once in the life of a server.
  void WaitForNone(absl::Duration timeout) const {
    // Not the wall clock, which may be set in the meantime.
    const auto end = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(timeout);
    while (count_.load(std::memory_order_acquire) > 0 && std::chrono::steady_clock::now() < end) {
      absl::SleepFor(absl::Milliseconds(5));
    }
  }

 private:
  std::atomic<int64_t> count_{0};
};

}  // namespace mayfly
