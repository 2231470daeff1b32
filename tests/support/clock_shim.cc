// A library to load into a server (LD_PRELOAD) that changes its clocks as a test requests: see
// clock_shim.h. CLOCK_MONOTONIC is unchanged.
#include "support/clock_shim.h"

#include <cstdlib>
#include <dlfcn.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/timex.h>

namespace {

using ClockGettime = int (*)(clockid_t, timespec*);
using AdjustTime = int (*)(timex*);

template <typename Function>
Function Next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

// Null when nobody wants the clocks moved.
const mayfly::ClockOffsets* MapOffsets() {
  const char* const path = std::getenv(mayfly::kClockShimVariable);
  if (path == nullptr) return nullptr;
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return nullptr;
  void* const mapped = mmap(nullptr, sizeof(mayfly::ClockOffsets), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  return mapped == MAP_FAILED ? nullptr : static_cast<const mayfly::ClockOffsets*>(mapped);
}

const mayfly::ClockOffsets* Offsets() {
  static const mayfly::ClockOffsets* const offsets = MapOffsets();
  return offsets;
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* time) {
  static const auto next = Next<ClockGettime>("clock_gettime");
  const int result = next(clock, time);
  const mayfly::ClockOffsets* const offsets = Offsets();
  if (result != 0 || offsets == nullptr) return result;
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) time->tv_sec += offsets->wall_s;
  if (clock == CLOCK_BOOTTIME) time->tv_sec += offsets->boottime_s;
  return result;
}

// OpenSSL asks this one whether a certificate is valid.
extern "C" time_t time(time_t* seconds) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (seconds != nullptr) *seconds = now.tv_sec;
  return now.tv_sec;
}

extern "C" int adjtimex(timex* state) {
  static const auto next = Next<AdjustTime>("adjtimex");
  const int result = next(state);
  if (Offsets() == nullptr) return result;
  state->status &= ~STA_UNSYNC;
  return TIME_OK;
}
