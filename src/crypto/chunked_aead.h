// Chunked authenticated encryption: how every payload here is sealed.
//
// The construction is c2sp.org/chunked-encryption@v1, to the byte, with SHA-256 and
// AEAD_AES_256_GCM. A message is cut into chunks of 16 KiB, the last always shorter and possibly
// empty, so that a cut-off message cannot pass for a whole one. Chunk n is sealed under a key of
// the message's own, with n in the nonce:
//
//   key (32) || base nonce (12) || commitment (32) = HKDF-Expand(input key,
//       "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM" || 0x00 || salt (24) || context)
//   sealed = salt || commitment || chunk 0 and its tag (16) || chunk 1 and its tag || ...
//
// THE HAZARD. Two messages under one key and nonce betray both, and let anyone forge more. So the
// salt, from which key and nonce come, is not a parameter: Seal draws a fresh one on every call.
// Sealing again what may have been sealed before (a retry, a resumed upload) is therefore safe,
// but gives other bytes: never mix parts of two sealings of the same plaintext.
//
// The context is not stored and not secret; opening needs the same one. Put in it, with lengths
// before everything of variable length, all that must not be exchanged: tenant, call, kind.
// The commitment binds a sealed message to one input key and context.
//
// Thread-safe: calls share nothing. Sealing allocates nothing.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "base/bytes.h"
#include "crypto/aes_gcm.h"
#include "crypto/hmac.h"

namespace mayfly {

inline constexpr size_t kInputKeySize = 32;
inline constexpr size_t kSaltSize = 24;
inline constexpr size_t kCommitmentSize = 32;
inline constexpr size_t kSealedPrefixSize = kSaltSize + kCommitmentSize;
inline constexpr size_t kChunkBytes = 16 << 10;
inline constexpr uint64_t kPlaintextBytesMax = (uint64_t{1} << 52) - 1;  // 2^38 chunks

// The key of any number of messages: 32 bytes, uniformly random or from a KDF.
class InputKey {
 public:
  explicit InputKey(ByteSpan key);

  // For expanding further keys, with labels that do not begin with "c2sp.org/".
  const HmacKey& hmac() const { return hmac_; }

 private:
  HmacKey hmac_;
};

// The size of a sealed message of at most kPlaintextBytesMax bytes: 56 bytes more, and 16 for
// each chunk.
size_t SealedSize(size_t plaintext_bytes);

// The inverse. DATA_LOSS (AUTHENTICATION_FAILED) for a size that no sealed message has.
absl::StatusOr<size_t> OpenedSize(size_t sealed_bytes);

// Seals the parts, one after another, as one message. `out` has SealedSize of their sum and
// overlaps none of them.
void Seal(const InputKey& input_key, ByteSpan context, absl::Span<const ByteSpan> plaintext,
          MutableByteSpan out);
// The same, appended.
void Seal(const InputKey& input_key, ByteSpan context, absl::Span<const ByteSpan> plaintext,
          std::string* out);

// Opens a sealed message into `out`, which has its OpenedSize and does not overlap it.
// DATA_LOSS (AUTHENTICATION_FAILED) when anything but the exact message, key and context is given;
// `out` then holds zeros.
absl::Status Open(const InputKey& input_key, ByteSpan context, ByteSpan sealed,
                  MutableByteSpan out);
// The same into several parts, one after another, of its OpenedSize in sum.
absl::Status Open(const InputKey& input_key, ByteSpan context, ByteSpan sealed,
                  absl::Span<const MutableByteSpan> out);
// The same, appended; on failure `out` is as it was.
absl::Status Open(const InputKey& input_key, ByteSpan context, ByteSpan sealed, std::string* out);

// The commitment within a sealed message, which stands for all of its key, context and salt.
ByteSpan CommitmentOf(ByteSpan sealed);

}  // namespace mayfly
