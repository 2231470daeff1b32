#include "crypto/sha256.h"

#include <cstring>

#include "base/secret_bytes.h"

namespace mayfly {

Sha256::Sha256() { SHA256_Init(&context_); }

// Sets the fields one by one, because SHA256_Init would also clear the buffer, which is still
// unused.
Sha256::Sha256(const Sha256State& state_after_block) {
  static_assert(sizeof context_.h == sizeof(Sha256State));
  memcpy(context_.h, state_after_block.data(), sizeof context_.h);
  context_.Nl = kSha256BlockSize * 8;  // bits hashed so far, low and high
  context_.Nh = 0;
  context_.num = 0;  // bytes waiting in the buffer
  context_.md_len = SHA256_DIGEST_LENGTH;
}

void Sha256::Update(ByteSpan data) { SHA256_Update(&context_, data.data(), data.size()); }

void Sha256::Finish(uint8_t digest[kSha256DigestSize]) { SHA256_Final(digest, &context_); }

Sha256Digest Sha256::Finish() {
  Sha256Digest digest;
  Finish(digest.data());
  return digest;
}

void Sha256::Wipe() { WipeMemory(&context_, sizeof context_); }

Sha256State Sha256InitialState() {
  SHA256_CTX context;
  SHA256_Init(&context);
  Sha256State state;
  memcpy(state.data(), context.h, sizeof state);
  return state;
}

Sha256State Sha256Compress(const Sha256State& state, const uint8_t block[kSha256BlockSize]) {
  SHA256_CTX context;  // SHA256_Transform uses only the chaining value
  memcpy(context.h, state.data(), sizeof context.h);
  SHA256_Transform(&context, block);
  Sha256State next;
  memcpy(next.data(), context.h, sizeof next);
  WipeMemory(context.h, sizeof context.h);
  return next;
}

Sha256Digest Sha256Of(ByteSpan data) {
  Sha256 hash;
  hash.Update(data);
  return hash.Finish();
}

}  // namespace mayfly
