// The window around call ids: a new call's id must have been minted within it.
//
// It is what keeps a call that has ended from being put anew: by the time that the tombstone is
// forgotten the id has left the window (invariant 19). Widening limits.id_window must not let back in
// what had left. So the window that was in force is kept in storage, and a start with a wider one
// draws a floor where the older one ended: ids below it stay outside for ever.
//
// A floor drawn while the clock was ahead would refuse new ids until the clock gets there. It counts
// therefore only as far as the narrower window would have refused the id anyway.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/status/statusor.h"

#include "storage/registry.h"

namespace mayfly {

struct IdWindow {
  int64_t window_ms = 0;
  int64_t narrower_ms = 0;
  int64_t floor_ms = 0;

  // Ids up to this time are outside, whatever the window.
  int64_t FloorAt(int64_t now_ms) const { return std::min(floor_ms, now_ms - narrower_ms - 1); }
};

// Takes note of the window that is in force from now on, durably.
absl::StatusOr<IdWindow> StartIdWindow(Registry* registry, int64_t window_ms, int64_t now_ms);

}  // namespace mayfly
