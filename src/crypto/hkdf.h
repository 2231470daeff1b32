// HKDF-SHA256 (RFC 5869) derives any number of independent keys from one secret.
//
// Extract turns input keying material into a pseudorandom key. Expand derives one key per `info`
// from that. Two uses of one pseudorandom key must differ in `info`, and no `info` may collide with
// another use's: start each with its own label. Thread-safe.
#pragma once

#include "absl/types/span.h"

#include "base/bytes.h"
#include "crypto/hmac.h"

namespace mayfly {

inline constexpr size_t kPseudorandomKeySize = kSha256DigestSize;
inline constexpr size_t kHkdfOutputBytesMax = 255 * kSha256DigestSize;

// `salt` is an HmacKey, so that a salt of many extractions, is hashed once.
// The caller wipes the output, here and below.
void HkdfExtract(const HmacKey& salt, ByteSpan input_keying_material,
                 uint8_t pseudorandom_key[kPseudorandomKeySize]);

// Fills `out`, at most kHkdfOutputBytesMax bytes. `info` is the concatenation of the parts.
void HkdfExpand(const HmacKey& pseudorandom_key, absl::Span<const ByteSpan> info,
                MutableByteSpan out);

}  // namespace mayfly
