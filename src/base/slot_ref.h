// Refers to a payload's secret: its slot in the slot file, and the generation of the payload that
// the slot was given to.
#pragma once

#include <cstdint>

namespace mayfly {

// A generation is given to one payload, store-wide and for ever. A slot is reused.
struct SlotRef {
  uint32_t slot = 0;
  uint64_t generation = 0;
  friend bool operator==(const SlotRef&, const SlotRef&) = default;
};

}  // namespace mayfly
