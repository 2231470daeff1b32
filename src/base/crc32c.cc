#include "base/crc32c.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include <isa-l/crc.h>

namespace mayfly {
namespace {

constexpr size_t kBytesPerStep = std::numeric_limits<int>::max();

}  // namespace

uint32_t ExtendCrc32c(uint32_t crc, ByteSpan data) {
  // The library leaves out the complement before and after.
  uint32_t state = ~crc;
  while (!data.empty()) {
    const size_t size = std::min(data.size(), kBytesPerStep);
    // It reads only, for all that its parameter says.
    state = crc32_iscsi(const_cast<uint8_t*>(data.data()), static_cast<int>(size), state);
    data.remove_prefix(size);
  }
  return ~state;
}

}  // namespace mayfly
