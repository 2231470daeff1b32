#include "crypto/hkdf.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace mayfly {

void HkdfExtract(const HmacKey& salt, ByteSpan input_keying_material,
                 uint8_t pseudorandom_key[kPseudorandomKeySize]) {
  HmacSha256 hmac(salt);
  hmac.Update(input_keying_material);
  hmac.Finish(pseudorandom_key);
}

void HkdfExpand(const HmacKey& pseudorandom_key, absl::Span<const ByteSpan> info,
                MutableByteSpan out) {
  Check(out.size() <= kHkdfOutputBytesMax, "HKDF gives at most 8160 bytes");
  uint8_t block[kSha256DigestSize];
  size_t done = 0;
  for (uint8_t number = 1; done < out.size(); ++number) {
    HmacSha256 hmac(pseudorandom_key);
    if (number > 1) hmac.Update(block);
    for (ByteSpan part : info) hmac.Update(part);
    hmac.Update({&number, 1});
    hmac.Finish(block);
    const size_t size = std::min(sizeof block, out.size() - done);
    memcpy(out.data() + done, block, size);
    done += size;
  }
  WipeMemory(block, sizeof block);
}

}  // namespace mayfly
