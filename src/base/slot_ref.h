// Where a payload's secret lives: a slot of the slot file, and the payload that it was given to.
#pragma once

#include <cstdint>

namespace mayfly {

// A generation is given to one payload, store-wide, for ever; a slot is reused.
struct SlotRef {
  uint32_t slot = 0;
  uint64_t generation = 0;
  friend bool operator==(const SlotRef&, const SlotRef&) = default;
};

}  // namespace mayfly
