#include "store/payload_cipher.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/bytes.h"
#include "base/error.h"
#include "crypto/chunked_aead.h"
#include "crypto/hkdf.h"
#include "crypto/sha256.h"

namespace mayfly {
namespace {

constexpr absl::string_view kContextFormat = "mayfly payload v1";
constexpr absl::string_view kFingerprintLabel = "mayfly fingerprint v1";

absl::Status DoesNotVerify(absl::string_view what) {
  return MakeError(absl::StatusCode::kDataLoss, Reason::kAuthenticationFailed,
                   absl::StrCat("the stored payload does not verify: ", what));
}

// What must not be exchanged between payloads. All fields have fixed widths but the first, which
// is preceded by its length; a segment's context is longer by its number.
std::string ContextOf(const CallKey& key, PayloadKind kind, const StoredPayload& stored) {
  std::string context;
  context.reserve(1 + kContextFormat.size() + 45 + 4);
  AppendBigEndian<uint8_t>(&context, kContextFormat.size());
  absl::StrAppend(&context, kContextFormat);
  AppendBigEndian(&context, static_cast<uint32_t>(key.tenant));
  absl::StrAppend(&context, AsText(key.id.bytes()));
  AppendBigEndian(&context, static_cast<uint8_t>(kind));
  AppendBigEndian(&context, stored.attempt);
  AppendBigEndian(&context, static_cast<uint64_t>(stored.deadline_ms));
  AppendBigEndian(&context, stored.slot.slot);
  AppendBigEndian(&context, stored.slot.generation);
  return context;
}

std::string SegmentContext(std::string context, uint32_t number) {
  AppendBigEndian(&context, number);
  return context;
}

Sealed SealParts(const InputKey& key, const std::string& context,
                 std::initializer_list<ByteSpan> parts) {
  size_t plaintext_bytes = 0;
  for (const ByteSpan part : parts) plaintext_bytes += part.size();
  return Sealed::Make(SealedSize(plaintext_bytes), [&](MutableByteSpan out) {
    Seal(key, AsBytes(context), absl::MakeConstSpan(parts.begin(), parts.size()), out);
  });
}

void AppendShort(std::string* out, absl::string_view text) {
  AppendBigEndian(out, static_cast<uint16_t>(text.size()));
  absl::StrAppend(out, text);
}

// outcome (1), CRC32C (4), content type, encryption key id, label count (1), names and values;
// every text preceded by its length (2).
std::string EncodeMetadata(const PayloadMetadata& metadata) {
  std::string out;
  AppendBigEndian(&out, static_cast<uint8_t>(metadata.outcome));
  AppendBigEndian(&out, metadata.crc32c);
  AppendShort(&out, metadata.content_type);
  AppendShort(&out, metadata.encryption_key_id);
  AppendBigEndian(&out, static_cast<uint8_t>(metadata.labels.size()));
  for (const auto& [name, value] : metadata.labels) {
    AppendShort(&out, name);
    AppendShort(&out, value);
  }
  return out;
}

// Takes fixed-width fields and texts from the front of bytes; `ok` turns false at the first lack.
class Reader {
 public:
  explicit Reader(absl::string_view bytes) : bytes_(bytes) {}

  template <typename Integer>
  Integer Take() {
    const absl::string_view field = TakeBytes(sizeof(Integer));
    return ok_ ? LoadBigEndian<Integer>(AsBytes(field).data()) : Integer{};
  }
  std::string TakeShort() { return std::string(TakeBytes(Take<uint16_t>())); }
  absl::string_view TakeBytes(size_t size) {
    if (!ok_ || bytes_.size() < size) {
      ok_ = false;
      return {};
    }
    const absl::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  bool ok() const { return ok_; }
  bool done() const { return ok_ && bytes_.empty(); }

 private:
  absl::string_view bytes_;
  bool ok_ = true;
};

bool DecodeMetadata(absl::string_view bytes, PayloadMetadata* metadata) {
  Reader reader(bytes);
  metadata->outcome = static_cast<Outcome>(reader.Take<uint8_t>());
  metadata->crc32c = reader.Take<uint32_t>();
  metadata->content_type = reader.TakeShort();
  metadata->encryption_key_id = reader.TakeShort();
  const int label_count = reader.Take<uint8_t>();
  for (int i = 0; i < label_count && reader.ok(); ++i) {
    std::string name = reader.TakeShort();
    metadata->labels.emplace_back(std::move(name), reader.TakeShort());
  }
  return reader.done();
}

std::string WithLength(const std::string& metadata) {
  std::string out;
  AppendBigEndian(&out, static_cast<uint32_t>(metadata.size()));
  return absl::StrCat(out, metadata);
}

Fingerprint ComputeFingerprint(const InputKey& key, const PayloadMetadata& metadata,
                               absl::string_view encoded_metadata, uint64_t size_bytes) {
  std::array<uint8_t, kSha256DigestSize> fingerprint_key;
  HkdfExpand(key.hmac(), {AsBytes(kFingerprintLabel)}, absl::MakeSpan(fingerprint_key));
  std::string head;
  AppendBigEndian(&head, metadata.crc32c);
  AppendBigEndian(&head, size_bytes);
  const Sha256Digest mac =
      HmacSha256Of(HmacKey(fingerprint_key), {AsBytes(head), AsBytes(encoded_metadata)});
  WipeMemory(fingerprint_key.data(), fingerprint_key.size());
  Fingerprint fingerprint;
  std::copy_n(mac.begin(), fingerprint.size(), fingerprint.begin());
  return fingerprint;
}

// The header of a payload in segments: metadata with its length, then size (8), number of segments
// (4), SHA-256 of their commitments (32).
std::string EncodeSegmentedHeader(const std::string& metadata, uint64_t size_bytes,
                                  uint32_t segment_count, const Sha256Digest& commitments) {
  std::string header = WithLength(metadata);
  AppendBigEndian(&header, size_bytes);
  AppendBigEndian(&header, segment_count);
  return absl::StrCat(header, AsText(commitments));
}

}  // namespace

absl::StatusOr<Sealed> PayloadCipher::SealPayload(const CallKey& key, PayloadKind kind,
                                                  const SecretBytes& secret,
                                                  const NewPayload& payload,
                                                  const SegmentWriter& write_segment,
                                                  StoredPayload* stored) const {
  const auto extracted =
      keyring_->Extract(EpochOfDeadline(stored->deadline_ms), secret.ExposeBytes());
  if (!extracted.ok()) {
    return MakeError(absl::StatusCode::kUnavailable, Reason::kStarting,
                     "the epoch key of the deadline is not in the keyring yet");
  }
  const InputKey input_key(extracted->ExposeBytes());
  const std::string context = ContextOf(key, kind, *stored);
  const std::string metadata = EncodeMetadata(payload.metadata);
  stored->fingerprint =
      ComputeFingerprint(input_key, payload.metadata, metadata, payload.data.size());
  stored->segment_count = 0;

  if (payload.data.size() <= kInlineBytesMax) {
    return SealParts(input_key, context, {AsBytes(WithLength(metadata)), AsBytes(payload.data)});
  }

  Sha256 commitments;
  for (size_t offset = 0; offset < payload.data.size(); offset += kSegmentBytes) {
    const Sealed segment = SealParts(input_key, SegmentContext(context, stored->segment_count),
                                     {AsBytes(payload.data.substr(offset, kSegmentBytes))});
    commitments.Update(CommitmentOf(segment.bytes()));
    RETURN_IF_ERROR(write_segment(stored->segment_count, segment));
    ++stored->segment_count;
  }
  const std::string header = EncodeSegmentedHeader(metadata, payload.data.size(),
                                                   stored->segment_count, commitments.Finish());
  return SealParts(input_key, context, {AsBytes(header)});
}

absl::StatusOr<Payload> PayloadCipher::OpenPayload(const CallKey& key, PayloadKind kind,
                                                   const StoredPayload& stored,
                                                   const SecretBytes& secret, const Sealed& row,
                                                   const SegmentReader& read_segment) const {
  const auto extracted =
      keyring_->Extract(EpochOfDeadline(stored.deadline_ms), secret.ExposeBytes());
  RETURN_IF_ERROR(extracted.status());
  const InputKey input_key(extracted->ExposeBytes());
  const std::string context = ContextOf(key, kind, stored);

  // What comes before the data, which a payload in segments does not have in its row.
  const auto opened_bytes = OpenedSize(row.size());
  RETURN_IF_ERROR(opened_bytes.status());
  const uint64_t data_bytes = stored.segment_count == 0 ? stored.size_bytes : 0;
  if (data_bytes > *opened_bytes) return DoesNotVerify("its size is another");
  std::string head(*opened_bytes - data_bytes, '\0');
  Payload payload;
  payload.data.resize(data_bytes);
  RETURN_IF_ERROR(Open(input_key, AsBytes(context), row.bytes(),
                       {AsMutableBytes(&head), AsMutableBytes(&payload.data)}));
  Reader reader(head);
  const absl::string_view metadata = reader.TakeBytes(reader.Take<uint32_t>());
  if (!reader.ok() || !DecodeMetadata(metadata, &payload.metadata)) {
    return DoesNotVerify("its metadata is malformed");
  }
  if (stored.segment_count == 0) {
    if (!reader.done()) return DoesNotVerify("its size is another");
    return payload;
  }

  const uint64_t size_bytes = reader.Take<uint64_t>();
  const uint32_t segment_count = reader.Take<uint32_t>();
  const std::string expected(reader.TakeBytes(kSha256DigestSize));
  if (!reader.done() || segment_count != stored.segment_count || size_bytes != stored.size_bytes) {
    return DoesNotVerify("its header is another's");
  }
  std::string& opened = payload.data;
  opened.reserve(size_bytes);
  Sha256 commitments;
  for (uint32_t number = 0; number < segment_count; ++number) {
    const auto segment = read_segment(number);
    RETURN_IF_ERROR(segment.status());
    RETURN_IF_ERROR(
        Open(input_key, AsBytes(SegmentContext(context, number)), segment->bytes(), &opened));
    commitments.Update(CommitmentOf(segment->bytes()));
  }
  if (opened.size() != size_bytes || AsText(commitments.Finish()) != expected) {
    return DoesNotVerify("its segments are not those that were put");
  }
  return payload;
}

absl::StatusOr<Fingerprint> PayloadCipher::FingerprintOf(const StoredPayload& stored,
                                                         const SecretBytes& secret,
                                                         const PayloadMetadata& metadata,
                                                         uint64_t size_bytes) const {
  const auto extracted =
      keyring_->Extract(EpochOfDeadline(stored.deadline_ms), secret.ExposeBytes());
  RETURN_IF_ERROR(extracted.status());
  return ComputeFingerprint(InputKey(extracted->ExposeBytes()), metadata, EncodeMetadata(metadata),
                            size_bytes);
}

}  // namespace mayfly
