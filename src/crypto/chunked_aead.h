// Chunked authenticated encryption, with which every payload is sealed.
//
// The construction is c2sp.org/chunked-encryption@v1, byte for byte, with SHA-256 and
// AEAD_AES_256_GCM. A message is split into chunks of 16 KiB. The last chunk is always shorter and
// may be empty, so that a truncated message cannot pass for a complete one. Chunk n is sealed under
// a key of the message's own, with n in the nonce:
//
//   key (32) || base nonce (12) || commitment (32) = HKDF-Expand(input key,
//       "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM" || 0x00 || salt (24) || context)
//   sealed = salt || commitment || chunk 0 and its tag (16) || chunk 1 and its tag || ...
//
// THE HAZARD. Two messages under one key and nonce reveal both and let anyone forge more. Key and
// nonce depend on the salt, so the salt is not a parameter: Seal draws a fresh one on every call.
// Sealing the same data again (a retry, a resumed upload) is therefore safe, but gives different
// bytes: never mix parts of two sealings of the same plaintext.
//
// The context is not stored and not secret; opening needs the same one. Put everything into it that
// must not be swapped between messages (tenant, call, kind), with a length before every field of
// variable size. The commitment binds a sealed message to one input key and context.
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

// The key for any number of messages: 32 bytes, uniformly random or from a KDF.
class InputKey {
 public:
  explicit InputKey(ByteSpan key);

  // For the expansion of further keys, with labels that do not begin with "c2sp.org/".
  const HmacKey& hmac() const { return hmac_; }

 private:
  HmacKey hmac_;
};

// The size of a sealed message with at most kPlaintextBytesMax bytes: 56 bytes more, and 16 for
// each chunk.
size_t SealedSize(size_t plaintext_bytes);

// The inverse. DATA_LOSS (AUTHENTICATION_FAILED) for a size that no sealed message can have.
absl::StatusOr<size_t> OpenedSize(size_t sealed_bytes);

// Seals the concatenated parts as one message. `out` has the SealedSize of their total and overlaps
// none of them.
void Seal(const InputKey& input_key, ByteSpan context, absl::Span<const ByteSpan> plaintext,
          MutableByteSpan out);
// The same, appended to `out`.
void Seal(const InputKey& input_key, ByteSpan context, absl::Span<const ByteSpan> plaintext,
          std::string* out);

// Opens a sealed message into `out`, which has its OpenedSize and does not overlap it. DATA_LOSS
// (AUTHENTICATION_FAILED) for anything but the exact message, key and context; `out` is then filled
// with zeros.
absl::Status Open(const InputKey& input_key, ByteSpan context, ByteSpan sealed,
                  MutableByteSpan out);
// The same into several consecutive parts with a total of its OpenedSize.
absl::Status Open(const InputKey& input_key, ByteSpan context, ByteSpan sealed,
                  absl::Span<const MutableByteSpan> out);
// The same, appended to `out`; on failure `out` is unchanged.
absl::Status Open(const InputKey& input_key, ByteSpan context, ByteSpan sealed, std::string* out);

// The commitment of a sealed message, which stands for its key, context and salt.
ByteSpan CommitmentOf(ByteSpan sealed);

}  // namespace mayfly
