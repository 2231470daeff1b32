// The interface between a test and the library clock_shim, which the server loads: see
// e2e/clocks.h.
#pragma once

#include <atomic>
#include <cstdint>

namespace mayfly {

// The environment variable that names the file of the offsets. Without it no clock is moved.
inline constexpr char kClockShimVariable[] = "MAYFLY_TEST_CLOCKS";

// The file, which both sides map.
struct ClockOffsets {
  std::atomic<int64_t> wall_s{0};      // of CLOCK_REALTIME
  std::atomic<int64_t> boottime_s{0};  // of CLOCK_BOOTTIME
};
static_assert(std::atomic<int64_t>::is_always_lock_free, "processes share it");

}  // namespace mayfly
