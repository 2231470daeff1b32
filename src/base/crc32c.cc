#include "base/crc32c.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include <isa-l/crc.h>

#if defined(__x86_64__)
// ISA-L's implementation with SSE4.2's crc32 instruction and carry-less multiplication, which the
// library exports and does not declare. crc32_iscsi itself chooses AVX-512 where there is some, and
// then everything else on that core becomes slower: 4 us of CPU a call's life, of 27.
extern "C" unsigned int crc32_iscsi_01(unsigned char* data, int size, unsigned int state);
#endif

namespace mayfly {
namespace {

constexpr size_t kBytesPerStep = std::numeric_limits<int>::max();

uint32_t ExtendState(uint32_t state, ByteSpan data) {
  // The library reads only, for all that its parameter says.
  uint8_t* const bytes = const_cast<uint8_t*>(data.data());
  const int size = static_cast<int>(data.size());
#if defined(__x86_64__)
  static const bool has_instructions =
      __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
  if (has_instructions) return crc32_iscsi_01(bytes, size, state);
#endif
  return crc32_iscsi(bytes, size, state);
}

}  // namespace

uint32_t ExtendCrc32c(uint32_t crc, ByteSpan data) {
  // The library leaves out the complement before and after.
  uint32_t state = ~crc;
  while (!data.empty()) {
    const ByteSpan step = data.first(std::min(data.size(), kBytesPerStep));
    state = ExtendState(state, step);
    data.remove_prefix(step.size());
  }
  return ~state;
}

}  // namespace mayfly
