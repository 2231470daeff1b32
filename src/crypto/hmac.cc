#include "crypto/hmac.h"

#include <cstring>

#include "base/secret_bytes.h"

namespace mayfly {
namespace {

// The two constants of RFC 2104 section 2.
constexpr uint8_t kInnerPad = 0x36;
constexpr uint8_t kOuterPad = 0x5c;

// The outer hash has two blocks: the key's, and one with the inner digest and SHA-256's padding,
// which is a one bit and the length (96 bytes) in bits.
constexpr uint8_t kOuterPadding[kSha256BlockSize - kSha256DigestSize] = {
    0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0,    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0};

void XorBlock(uint8_t block[kSha256BlockSize], uint8_t value) {
  for (size_t i = 0; i < kSha256BlockSize; ++i) block[i] ^= value;
}

}  // namespace

HmacKey::HmacKey(ByteSpan key) {
  uint8_t block[kSha256BlockSize] = {};
  if (key.size() > kSha256BlockSize) {
    Sha256 hash;
    hash.Update(key);
    hash.Finish(block);
    hash.Wipe();
  } else if (!key.empty()) {
    memcpy(block, key.data(), key.size());
  }
  XorBlock(block, kInnerPad);
  inner_ = Sha256Compress(Sha256InitialState(), block);
  XorBlock(block, kInnerPad ^ kOuterPad);
  outer_ = Sha256Compress(Sha256InitialState(), block);
  WipeMemory(block, sizeof block);
}

HmacKey::~HmacKey() {
  WipeMemory(inner_.data(), sizeof inner_);
  WipeMemory(outer_.data(), sizeof outer_);
}

void HmacKey::SaveTo(uint8_t saved[kSavedSize]) const {
  memcpy(saved, inner_.data(), sizeof inner_);
  memcpy(saved + sizeof inner_, outer_.data(), sizeof outer_);
}

HmacKey::HmacKey(Saved saved) {
  memcpy(inner_.data(), saved.bytes, sizeof inner_);
  memcpy(outer_.data(), saved.bytes + sizeof inner_, sizeof outer_);
}

void HmacSha256::Finish(uint8_t mac[kSha256DigestSize]) {
  uint8_t block[kSha256BlockSize];
  hash_.Finish(block);
  memcpy(block + kSha256DigestSize, kOuterPadding, sizeof kOuterPadding);
  const Sha256State state = Sha256Compress(key_.outer_, block);
  for (size_t i = 0; i < state.size(); ++i) StoreBigEndian(mac + i * sizeof state[i], state[i]);
}

Sha256Digest HmacSha256Of(const HmacKey& key, absl::Span<const ByteSpan> message) {
  HmacSha256 hmac(key);
  for (ByteSpan part : message) hmac.Update(part);
  Sha256Digest mac;
  hmac.Finish(mac.data());
  return mac;
}

}  // namespace mayfly
