#include "base/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace mayfly {
namespace {

constexpr uint32_t kPolynomialReflected = 0x82f63b78;

constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ kPolynomialReflected : crc >> 1;
    table[i] = crc;
  }
  return table;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t ExtendBySse42(uint32_t state, ByteSpan data) {
  uint64_t wide = state;
  const uint8_t* p = data.data();
  size_t left = data.size();
  for (; left >= 8; left -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, sizeof word);
    wide = _mm_crc32_u64(wide, word);
  }
  state = static_cast<uint32_t>(wide);
  for (; left > 0; --left, ++p) state = _mm_crc32_u8(state, *p);
  return state;
}
#endif

}  // namespace

uint32_t ExtendCrc32c(uint32_t crc, ByteSpan data) {
#if defined(__x86_64__)
  static const bool kHasSse42 = __builtin_cpu_supports("sse4.2");
  if (kHasSse42) return ~ExtendBySse42(~crc, data);
#endif
  return ExtendCrc32cByTable(crc, data);
}

uint32_t ExtendCrc32cByTable(uint32_t crc, ByteSpan data) {
  static constexpr std::array<uint32_t, 256> kTable = MakeTable();
  uint32_t state = ~crc;
  for (uint8_t byte : data) state = kTable[(state ^ byte) & 0xff] ^ state >> 8;
  return ~state;
}

}  // namespace mayfly
