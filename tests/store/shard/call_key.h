// Calls for tests that need nothing of them but that they differ.
#pragma once

#include <cstdint>

#include "absl/time/time.h"

#include "base/call_id.h"
#include "call/state.h"

namespace mayfly {

inline CallKey KeyOf(uint8_t number) {
  const uint8_t random[10] = {number};
  return {.id = CallId::Mint(absl::FromUnixSeconds(1'800'000'000), random), .tenant = {}};
}

}  // namespace mayfly
