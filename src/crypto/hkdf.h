// HKDF-SHA256 (RFC 5869): one secret in, any number of independent keys out.
//
// Extract turns input keying material into a pseudorandom key; Expand derives from that one key per
// `info`. Two uses of one pseudorandom key must differ in `info`, and no `info` may be made to
// look like another's: start each with a label of its own. Thread-safe.
#pragma once

#include "absl/types/span.h"

#include "base/bytes.h"
#include "crypto/hmac.h"

namespace mayfly {

inline constexpr size_t kPseudorandomKeySize = kSha256DigestSize;
inline constexpr size_t kHkdfOutputBytesMax = 255 * kSha256DigestSize;

// `salt` is an HmacKey so that a salt of many extractions, as an epoch key is, is hashed once.
// Wiping what comes out, here and below, is left to the caller.
void HkdfExtract(const HmacKey& salt, ByteSpan input_keying_material,
                 uint8_t pseudorandom_key[kPseudorandomKeySize]);

// Fills `out`, at most kHkdfOutputBytesMax bytes. `info` is the parts one after another.
void HkdfExpand(const HmacKey& pseudorandom_key, absl::Span<const ByteSpan> info,
                MutableByteSpan out);

}  // namespace mayfly
