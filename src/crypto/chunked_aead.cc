#include "crypto/chunked_aead.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

#include "base/check.h"
#include "base/error.h"
#include "base/secret_bytes.h"
#include "crypto/constant_time.h"
#include "crypto/hkdf.h"
#include "crypto/random.h"

namespace mayfly {
namespace {

constexpr size_t kSealedChunkBytes = kChunkBytes + kGcmTagSize;

// The zero byte after the AEAD's name is part of the info: it is the array's terminator.
constexpr char kInfoPrefix[] = "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM";

absl::Status AuthenticationError(absl::string_view message) {
  return MakeError(absl::StatusCode::kDataLoss, Reason::kAuthenticationFailed, message);
}

// The output of HKDF-Expand for one message, in the order of the specification.
struct MessageKeys {
  uint8_t key[kAesKeySize];
  uint8_t base_nonce[kGcmNonceSize];
  uint8_t commitment[kCommitmentSize];

  MessageKeys(const InputKey& input_key, ByteSpan salt, ByteSpan context) {
    uint8_t expanded[sizeof key + sizeof base_nonce + sizeof commitment];
    const ByteSpan prefix(reinterpret_cast<const uint8_t*>(kInfoPrefix), sizeof kInfoPrefix);
    HkdfExpand(input_key.hmac(), {prefix, salt, context}, absl::MakeSpan(expanded));
    memcpy(key, expanded, sizeof key);
    memcpy(base_nonce, expanded + sizeof key, sizeof base_nonce);
    memcpy(commitment, expanded + sizeof key + sizeof base_nonce, sizeof commitment);
    WipeMemory(expanded, sizeof expanded);
  }
  ~MessageKeys() { WipeMemory(this, sizeof *this); }
  MessageKeys(const MessageKeys&) = delete;
  MessageKeys& operator=(const MessageKeys&) = delete;
};

struct ChunkNonce {
  uint8_t bytes[kGcmNonceSize];

  // The chunk's number, big-endian, XORed into the end of the base nonce.
  ChunkNonce(const uint8_t base_nonce[kGcmNonceSize], uint64_t chunk) {
    memcpy(bytes, base_nonce, sizeof bytes);
    uint8_t* counter = bytes + sizeof bytes - sizeof chunk;
    StoreBigEndian(counter, LoadBigEndian<uint64_t>(counter) ^ chunk);
  }
};

// Walks through the parts of a message without joining them.
template <typename Bytes>
class Parts {
 public:
  explicit Parts(absl::Span<const Bytes> parts) : parts_(parts) {}

  // The next contiguous bytes, at most `bytes_max`. The caller knows that some are left.
  Bytes Next(size_t bytes_max) {
    while (offset_ == parts_.front().size()) {
      parts_.remove_prefix(1);
      offset_ = 0;
    }
    const Bytes piece = parts_.front().subspan(offset_, bytes_max);
    offset_ += piece.size();
    return piece;
  }

 private:
  absl::Span<const Bytes> parts_;
  size_t offset_ = 0;
};

template <typename Bytes>
size_t TotalSize(absl::Span<const Bytes> parts) {
  size_t total = 0;
  for (const Bytes& part : parts) total += part.size();
  return total;
}

MutableByteSpan Extend(std::string* out, size_t bytes) {
  const size_t old_size = out->size();
  out->resize(old_size + bytes);
  return MutableByteSpan(reinterpret_cast<uint8_t*>(out->data()) + old_size, bytes);
}

absl::Status OpenChunks(const MessageKeys& keys, ByteSpan chunks,
                        absl::Span<const MutableByteSpan> out) {
  Parts<MutableByteSpan> parts(out);
  Aes256Gcm& cipher = Aes256Gcm::OfThisThread();
  cipher.SetKey(keys.key);
  for (uint64_t number = 0; !chunks.empty(); ++number) {
    const ByteSpan chunk = chunks.subspan(0, kSealedChunkBytes);
    chunks.remove_prefix(chunk.size());
    const size_t bytes = chunk.size() - kGcmTagSize;
    cipher.StartOpen(ChunkNonce(keys.base_nonce, number).bytes);
    for (size_t done = 0; done < bytes;) {
      const MutableByteSpan piece = parts.Next(bytes - done);
      cipher.Update(chunk.subspan(done, piece.size()), piece.data());
      done += piece.size();
    }
    if (!cipher.FinishOpen(chunk.data() + bytes)) {
      return AuthenticationError(absl::StrCat("chunk ", number, " does not authenticate"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

InputKey::InputKey(ByteSpan key) : hmac_(key) {
  Check(key.size() == kInputKeySize, "an input key has 32 bytes");
}

size_t SealedSize(size_t plaintext_bytes) {
  Check(plaintext_bytes <= kPlaintextBytesMax, "a message has at most 2^38 chunks");
  const size_t chunk_count = plaintext_bytes / kChunkBytes + 1;
  return kSealedPrefixSize + plaintext_bytes + chunk_count * kGcmTagSize;
}

absl::StatusOr<size_t> OpenedSize(size_t sealed_bytes) {
  const size_t chunks_bytes = sealed_bytes - std::min(sealed_bytes, kSealedPrefixSize);
  const size_t full_chunk_count = chunks_bytes / kSealedChunkBytes;
  const size_t last_chunk_bytes = chunks_bytes % kSealedChunkBytes;
  if (last_chunk_bytes < kGcmTagSize || full_chunk_count > kPlaintextBytesMax / kChunkBytes) {
    return AuthenticationError(absl::StrCat("sealed_bytes is ", sealed_bytes,
                                            ", which is not the size of any sealed message"));
  }
  return full_chunk_count * kChunkBytes + last_chunk_bytes - kGcmTagSize;
}

void Seal(const InputKey& input_key, ByteSpan context, absl::Span<const ByteSpan> plaintext,
          MutableByteSpan out) {
  size_t left = TotalSize(plaintext);
  Check(out.size() == SealedSize(left), "the output has the sealed size");
  const MutableByteSpan salt = out.subspan(0, kSaltSize);
  FillRandom(salt);
  const MessageKeys keys(input_key, salt, context);
  memcpy(out.data() + kSaltSize, keys.commitment, kCommitmentSize);

  Aes256Gcm& cipher = Aes256Gcm::OfThisThread();
  cipher.SetKey(keys.key);
  Parts<ByteSpan> gather(plaintext);
  uint8_t* next = out.data() + kSealedPrefixSize;
  bool last = false;
  for (uint64_t number = 0; !last; ++number) {
    last = left < kChunkBytes;
    cipher.StartSeal(ChunkNonce(keys.base_nonce, number).bytes);
    for (size_t chunk_left = std::min(left, kChunkBytes); chunk_left > 0;) {
      const ByteSpan piece = gather.Next(chunk_left);
      cipher.Update(piece, next);
      next += piece.size();
      chunk_left -= piece.size();
      left -= piece.size();
    }
    cipher.FinishSeal(next);
    next += kGcmTagSize;
  }
}

void Seal(const InputKey& input_key, ByteSpan context, absl::Span<const ByteSpan> plaintext,
          std::string* out) {
  Seal(input_key, context, plaintext, Extend(out, SealedSize(TotalSize(plaintext))));
}

absl::Status Open(const InputKey& input_key, ByteSpan context, ByteSpan sealed,
                  MutableByteSpan out) {
  return Open(input_key, context, sealed, absl::MakeConstSpan(&out, 1));
}

absl::Status Open(const InputKey& input_key, ByteSpan context, ByteSpan sealed,
                  absl::Span<const MutableByteSpan> out) {
  const absl::StatusOr<size_t> opened_bytes = OpenedSize(sealed.size());
  RETURN_IF_ERROR(opened_bytes.status());
  Check(TotalSize(out) == *opened_bytes, "the output has the opened size");
  const MessageKeys keys(input_key, sealed.subspan(0, kSaltSize), context);
  // Check the commitment before any chunk: without it, an attacker could construct a message that
  // opens under two keys.
  absl::Status status =
      EqualInConstantTime(keys.commitment, CommitmentOf(sealed))
          ? OpenChunks(keys, sealed.subspan(kSealedPrefixSize), out)
          : AuthenticationError("the commitment is not that of this key and context");
  if (status.ok()) return status;
  for (const MutableByteSpan& part : out) WipeMemory(part.data(), part.size());
  return status;
}

absl::Status Open(const InputKey& input_key, ByteSpan context, ByteSpan sealed, std::string* out) {
  const absl::StatusOr<size_t> opened_bytes = OpenedSize(sealed.size());
  RETURN_IF_ERROR(opened_bytes.status());
  const size_t old_size = out->size();
  absl::Status status = Open(input_key, context, sealed, Extend(out, *opened_bytes));
  if (!status.ok()) out->resize(old_size);
  return status;
}

ByteSpan CommitmentOf(ByteSpan sealed) {
  Check(sealed.size() >= kSealedPrefixSize, "a sealed message begins with salt and commitment");
  return sealed.subspan(kSaltSize, kCommitmentSize);
}

}  // namespace mayfly
