// CRC-32C (Castagnoli; RFC 3720 section 12.1), the checksum that clients may send with a payload.
// It detects accidental damage, not attacks: crypto/ provides authenticity.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace mayfly {

// The CRC of `data` appended to data whose CRC is `crc`; start with 0. By Intel's ISA-L, which uses
// what the processor has.
uint32_t ExtendCrc32c(uint32_t crc, ByteSpan data);

inline uint32_t Crc32c(ByteSpan data) { return ExtendCrc32c(0, data); }

}  // namespace mayfly
