// HMAC-SHA256 (RFC 2104) with keys that are used repeatedly.
//
// Half the work of a short HMAC is hashing its key. An HmacKey does that once and stores the two
// chaining states, so that a MAC of up to 55 bytes costs two compressions instead of four.
//
//   HmacKey key(secret);
//   Sha256Digest mac = HmacSha256Of(key, {size_field, metadata});
//
// An HmacKey is as secret as the key it was made from, and is wiped on destruction. Threads may
// share it for reading; an HmacSha256 belongs to one thread.
#pragma once

#include "absl/types/span.h"

#include "base/bytes.h"
#include "crypto/sha256.h"

namespace mayfly {

class HmacKey {
 public:
  // A key of any length. Takes two compressions, and more for a key longer than 64 bytes.
  explicit HmacKey(ByteSpan key);
  ~HmacKey();
  HmacKey(const HmacKey&) = delete;
  HmacKey& operator=(const HmacKey&) = delete;

  // Long-lived keys belong in locked memory: these write the states there and read them back, for the
  // cost of a copy.
  static constexpr size_t kSavedSize = 2 * sizeof(Sha256State);
  void SaveTo(uint8_t saved[kSavedSize]) const;
  static HmacKey FromSaved(const uint8_t saved[kSavedSize]) { return HmacKey(Saved{saved}); }

 private:
  friend class HmacSha256;
  struct Saved {
    const uint8_t* bytes;
  };
  explicit HmacKey(Saved saved);

  Sha256State inner_;
  Sha256State outer_;
};

// One MAC in progress; wiped on destruction.
class HmacSha256 {
 public:
  explicit HmacSha256(const HmacKey& key) : hash_(key.inner_), key_(key) {}
  ~HmacSha256() { hash_.Wipe(); }
  HmacSha256(const HmacSha256&) = delete;
  HmacSha256& operator=(const HmacSha256&) = delete;

  void Update(ByteSpan data) { hash_.Update(data); }
  // Ends the MAC. The object must not be used afterwards.
  void Finish(uint8_t mac[kSha256DigestSize]);

 private:
  Sha256 hash_;
  const HmacKey& key_;
};

// The MAC of the concatenated parts. Nothing separates them: the caller encodes lengths.
Sha256Digest HmacSha256Of(const HmacKey& key, absl::Span<const ByteSpan> message);

}  // namespace mayfly
