// Fixed-width big-endian integers and byte views, as every on-disk format here writes them.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace mayfly {

using ByteSpan = absl::Span<const uint8_t>;
using MutableByteSpan = absl::Span<uint8_t>;

template <typename Integer>
void StoreBigEndian(uint8_t* out, Integer value) {
  for (size_t i = sizeof(Integer); i-- > 0;) {
    out[i] = static_cast<uint8_t>(value);
    if constexpr (sizeof(Integer) > 1) value = static_cast<Integer>(value >> 8);
  }
}

template <typename Integer>
Integer LoadBigEndian(const uint8_t* in) {
  Integer value = 0;
  for (size_t i = 0; i < sizeof(Integer); ++i) {
    if constexpr (sizeof(Integer) > 1) value = static_cast<Integer>(value << 8);
    value = static_cast<Integer>(value | in[i]);
  }
  return value;
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

inline absl::string_view AsText(ByteSpan bytes) {
  return absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace mayfly
