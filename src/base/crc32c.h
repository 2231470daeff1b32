// CRC-32C (Castagnoli; RFC 3720 section 12.1), the checksum that writers may send with a payload.
// It catches accidents, not attackers: authenticity is the work of crypto/.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace mayfly {

// The CRC of `data` appended to data whose CRC is `crc`; start with 0. Up to eight bytes a cycle
// with SSE4.2; a table elsewhere.
uint32_t ExtendCrc32c(uint32_t crc, ByteSpan data);

// The same by table, which is all that other processors have.
uint32_t ExtendCrc32cByTable(uint32_t crc, ByteSpan data);

inline uint32_t Crc32c(ByteSpan data) { return ExtendCrc32c(0, data); }

}  // namespace mayfly
