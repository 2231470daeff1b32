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

uint32_t ByTable(uint32_t state, uint8_t byte) {
  static constexpr std::array<uint32_t, 256> kTable = MakeTable();
  return kTable[(state ^ byte) & 0xff] ^ state >> 8;
}

#if defined(__x86_64__)

// The crc32 instruction has a latency of three cycles and a throughput of one per cycle. So three
// stretches are processed in parallel, each from its own state. Their states are combined with the
// effect of a stretch of zeros on a state (M. Adler, crc32c.c, describes the method).
constexpr size_t kStretchBytes = 1024;

// The effect of kStretchBytes zeros on a state, per byte of the state: the function is linear.
class AfterStretch {
 public:
  AfterStretch() {
    std::array<uint32_t, 32> of_bit{};
    for (uint32_t bit = 0; bit < 32; ++bit) {
      of_bit[bit] = uint32_t{1} << bit;
      for (size_t i = 0; i < kStretchBytes; ++i) of_bit[bit] = ByTable(of_bit[bit], 0);
    }
    for (uint32_t place = 0; place < 4; ++place) {
      for (uint32_t byte = 0; byte < 256; ++byte) {
        for (uint32_t bit = 0; bit < 8; ++bit) {
          if (byte >> bit & 1) of_byte_[place][byte] ^= of_bit[8 * place + bit];
        }
      }
    }
  }
  uint32_t operator()(uint32_t state) const {
    return of_byte_[0][state & 0xff] ^ of_byte_[1][state >> 8 & 0xff] ^
           of_byte_[2][state >> 16 & 0xff] ^ of_byte_[3][state >> 24];
  }

 private:
  std::array<std::array<uint32_t, 256>, 4> of_byte_{};
};

uint64_t LoadWord(const uint8_t* p) {
  uint64_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

__attribute__((target("sse4.2"))) uint32_t ExtendBySse42(uint32_t state, ByteSpan data) {
  static const AfterStretch after_stretch;
  const uint8_t* p = data.data();
  size_t left = data.size();
  for (; left >= 3 * kStretchBytes; left -= 3 * kStretchBytes, p += 3 * kStretchBytes) {
    uint64_t first = state;
    uint64_t second = 0;
    uint64_t third = 0;
    for (size_t i = 0; i < kStretchBytes; i += sizeof(uint64_t)) {
      first = _mm_crc32_u64(first, LoadWord(p + i));
      second = _mm_crc32_u64(second, LoadWord(p + kStretchBytes + i));
      third = _mm_crc32_u64(third, LoadWord(p + 2 * kStretchBytes + i));
    }
    state = after_stretch(static_cast<uint32_t>(first)) ^ static_cast<uint32_t>(second);
    state = after_stretch(state) ^ static_cast<uint32_t>(third);
  }
  uint64_t wide = state;
  for (; left >= sizeof(uint64_t); left -= sizeof(uint64_t), p += sizeof(uint64_t)) {
    wide = _mm_crc32_u64(wide, LoadWord(p));
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
  uint32_t state = ~crc;
  for (uint8_t byte : data) state = ByTable(state, byte);
  return ~state;
}

}  // namespace mayfly
