// Fixed-width big-endian integers and byte views, used by every on-disk format.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace mayfly {

using ByteSpan = absl::Span<const uint8_t>;
using MutableByteSpan = absl::Span<uint8_t>;

// Converts between the machine's byte order and big-endian, in both directions. It uses the
// compiler's byte swap: at -O3 a loop of shifts is compiled to vector code that is several times
// slower.
template <typename Integer>
Integer SwapBigEndian(Integer value) {
  if constexpr (std::endian::native == std::endian::big || sizeof(Integer) == 1) return value;
  if constexpr (sizeof(Integer) == 2) return static_cast<Integer>(__builtin_bswap16(value));
  if constexpr (sizeof(Integer) == 4) return static_cast<Integer>(__builtin_bswap32(value));
  if constexpr (sizeof(Integer) == 8) return static_cast<Integer>(__builtin_bswap64(value));
}

template <typename Integer>
void StoreBigEndian(uint8_t* out, Integer value) {
  value = SwapBigEndian(value);
  memcpy(out, &value, sizeof value);
}

template <typename Integer>
Integer LoadBigEndian(const uint8_t* in) {
  Integer value;
  memcpy(&value, in, sizeof value);
  return SwapBigEndian(value);
}

template <typename Integer>
void AppendBigEndian(std::string* out, Integer value) {
  uint8_t buffer[sizeof(Integer)];
  StoreBigEndian(buffer, value);
  out->append(reinterpret_cast<const char*>(buffer), sizeof buffer);
}

inline ByteSpan AsBytes(absl::string_view text) {
  return ByteSpan(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

inline MutableByteSpan AsMutableBytes(std::string* text) {
  return MutableByteSpan(reinterpret_cast<uint8_t*>(text->data()), text->size());
}

inline absl::string_view AsText(ByteSpan bytes) {
  return absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace mayfly
