// AES-256-GCM (NIST SP 800-38D; AEAD_AES_256_GCM of RFC 5116), without additional data.
//
// A PRIMITIVE: use chunked_aead.h. Two messages under one key and nonce reveal the XOR of both
// plaintexts and the key that authenticates every message. This class does not prevent that; its
// callers derive a fresh key for each message and count its chunks in the nonce.
//
// Process one message at a time: StartX, Update for each piece, FinishX. The output of Update while
// opening is unverified. It must not be used, and must be wiped, unless FinishOpen returns true.
//
// Each thread has one object. Its OpenSSL context is reused, because creating one costs more than
// sealing a small payload. The schedule of the last key stays there until the next key: overwriting
// it costs a tenth of sealing 1 KiB, and the plaintext itself has just been in ordinary memory.
#pragma once

#include "base/bytes.h"
#include "crypto/openssl.h"

namespace mayfly {

inline constexpr size_t kAesKeySize = 32;
inline constexpr size_t kGcmNonceSize = 12;
inline constexpr size_t kGcmTagSize = 16;

class Aes256Gcm {
 public:
  static Aes256Gcm& OfThisThread();

  Aes256Gcm(const Aes256Gcm&) = delete;
  Aes256Gcm& operator=(const Aes256Gcm&) = delete;

  void SetKey(const uint8_t key[kAesKeySize]);

  void StartSeal(const uint8_t nonce[kGcmNonceSize]);
  void StartOpen(const uint8_t nonce[kGcmNonceSize]);
  // Writes in.size() bytes, at most 2^30. `in` and `out` are the same or do not overlap.
  void Update(ByteSpan in, uint8_t* out);
  void FinishSeal(uint8_t tag[kGcmTagSize]);
  // Returns false if the tag does not match.
  [[nodiscard]] bool FinishOpen(const uint8_t tag[kGcmTagSize]);

 private:
  Aes256Gcm();

  CipherContext context_;
};

}  // namespace mayfly
