#include "store/payload_cipher.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/bytes.h"
#include "base/error.h"
#include "call/refusal.h"
#include "crypto/chunked_aead.h"
#include "crypto/hkdf.h"
#include "crypto/sha256.h"
#include "storage/secrets.h"

namespace mayfly {
namespace {

constexpr absl::string_view kContextFormat = "mayfly payload v2";
constexpr absl::string_view kFingerprintLabel = "mayfly fingerprint v1";

// The number of an upload's metadata among its segments, which never are so many.
constexpr uint32_t kMetadataNumber = UINT32_MAX;

absl::Status NoHourKeyError() {
  return MakeError(absl::StatusCode::kUnavailable, Reason::kStarting,
                   "the hour key of the deadline is not in the keyring yet");
}

// What is to be sealed is past its own deadline when its second is closed.
absl::Status SealingError(const absl::Status& status) {
  return absl::IsNotFound(status) ? TooLateError() : status;
}

// The associated data of a payload: all that must not be exchanged between payloads. All fields have
// fixed widths but the first, which is preceded by its length; a segment's context is longer by its
// number. On the stack, because every payload that is sealed or opened makes one.
class Context {
 public:
  Context(const CallKey& key, PayloadKind kind, const StoredPayload& stored) {
    Append(static_cast<uint8_t>(kContextFormat.size()));
    Append(AsBytes(kContextFormat));
    Append(static_cast<uint32_t>(key.tenant));
    Append(key.id.bytes());
    Append(static_cast<uint8_t>(kind));
    Append(stored.attempt);
    Append(static_cast<uint64_t>(stored.deadline_ms));
    Append(stored.hour_key);
    Append(stored.slot.slot);
    Append(stored.slot.generation);
  }
  Context(const CallKey& key, PayloadKind kind, const StoredPayload& stored, uint32_t number)
      : Context(key, kind, stored) {
    Append(number);
  }

  ByteSpan bytes() const { return {bytes_.data(), size_}; }

 private:
  template <typename Integer>
  void Append(Integer value) {
    StoreBigEndian(bytes_.data() + size_, value);
    size_ += sizeof value;
  }
  void Append(ByteSpan field) {
    std::copy(field.begin(), field.end(), bytes_.begin() + size_);
    size_ += field.size();
  }

  std::array<uint8_t, 1 + kContextFormat.size() + 49 + 4> bytes_;
  size_t size_ = 0;
};

Sealed SealParts(const InputKey& key, const Context& context,
                 std::initializer_list<ByteSpan> parts) {
  size_t plaintext_bytes = 0;
  for (const ByteSpan part : parts) plaintext_bytes += part.size();
  return Sealed::Make(SealedSize(plaintext_bytes), [&](MutableByteSpan out) {
    Seal(key, context.bytes(), absl::MakeConstSpan(parts.begin(), parts.size()), out);
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

absl::Status ReadMetadata(Reader* reader, PayloadMetadata* metadata) {
  const absl::string_view encoded = reader->TakeBytes(reader->Take<uint32_t>());
  if (!reader->ok() || !DecodeMetadata(encoded, metadata)) {
    return DoesNotVerify("its metadata is malformed");
  }
  return absl::OkStatus();
}

// Opens a row: what comes before the data is returned, and the data, which a payload in segments
// does not have in its row, fills `data`.
absl::StatusOr<std::string> OpenRow(const InputKey& key, const Context& context, const Sealed& row,
                                    std::string* data) {
  const auto opened_bytes = OpenedSize(row.size());
  RETURN_IF_ERROR(opened_bytes.status());
  const uint64_t data_bytes = data != nullptr ? data->size() : 0;
  if (data_bytes > *opened_bytes) return DoesNotVerify("its size is another");
  std::string head(*opened_bytes - data_bytes, '\0');
  const MutableByteSpan data_bytes_out = data != nullptr ? AsMutableBytes(data) : MutableByteSpan();
  RETURN_IF_ERROR(Open(key, context.bytes(), row.bytes(), {AsMutableBytes(&head), data_bytes_out}));
  return head;
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

absl::Status DoesNotVerify(absl::string_view what) {
  return MakeError(absl::StatusCode::kDataLoss, Reason::kAuthenticationFailed,
                   absl::StrCat("the stored payload does not verify: ", what));
}

absl::StatusOr<SecretBytes> PayloadCipher::Extract(const StoredPayload& stored,
                                                   const SecretBytes& secret) const {
  return keyring_->Extract(SecondOf(stored), secret.ExposeBytes());
}

// Keys are made hours ahead, but steady time may have jumped by more: the next round of upkeep would
// make the missing ones.
absl::StatusOr<SecretBytes> PayloadCipher::ExtractForNew(const SecretBytes& secret,
                                                         StoredPayload* stored) const {
  if (stored->hour_key == 0) {
    const int64_t due_s = DueSecond(stored->deadline_ms);
    auto number = keyring_->NumberFor(due_s);
    if (!number.ok()) {
      if (!keyring_->EnsureAhead(stored->stored_ms).ok()) return NoHourKeyError();
      number = keyring_->NumberFor(due_s);
    }
    // Its second is closed: over while the put waited, or closed by a clock that was ahead a moment ago.
    if (!number.ok()) return NoHourKeyError();
    stored->hour_key = *number;
  }
  auto extracted = Extract(*stored, secret);
  if (!extracted.ok()) return SealingError(extracted.status());
  return extracted;
}

absl::StatusOr<Sealed> PayloadCipher::SealPayload(const CallKey& key, PayloadKind kind,
                                                  const SecretBytes& secret,
                                                  const NewPayload& payload,
                                                  const SegmentWriter& write_segment,
                                                  StoredPayload* stored) const {
  const auto extracted = ExtractForNew(secret, stored);
  RETURN_IF_ERROR(extracted.status());
  const InputKey input_key(extracted->ExposeBytes());
  stored->segment_count = 0;
  if (payload.data.size() <= kInlineBytesMax) {
    const std::string metadata = EncodeMetadata(payload.metadata);
    stored->fingerprint =
        ComputeFingerprint(input_key, payload.metadata, metadata, payload.data.size());
    return SealParts(input_key, Context(key, kind, *stored),
                     {AsBytes(WithLength(metadata)), AsBytes(payload.data)});
  }

  Sha256 commitments;
  for (size_t offset = 0; offset < payload.data.size(); offset += kSegmentBytes) {
    const Sealed segment = SealParts(input_key, Context(key, kind, *stored, stored->segment_count),
                                     {AsBytes(payload.data.substr(offset, kSegmentBytes))});
    commitments.Update(CommitmentOf(segment.bytes()));
    RETURN_IF_ERROR(write_segment(stored->segment_count, segment));
    ++stored->segment_count;
  }
  return SealHeader(key, kind, secret,
                    {.metadata = payload.metadata, .commitments = commitments.Finish()}, stored);
}

absl::StatusOr<Payload> PayloadCipher::OpenPayload(const CallKey& key, PayloadKind kind,
                                                   const StoredPayload& stored,
                                                   const SecretBytes& secret, const Sealed& row,
                                                   const SegmentReader& read_segment) const {
  Payload payload;
  if (stored.segment_count == 0) {
    const auto extracted = Extract(stored, secret);
    RETURN_IF_ERROR(extracted.status());
    const InputKey input_key(extracted->ExposeBytes());
    payload.data.resize(stored.size_bytes);
    auto head = OpenRow(input_key, Context(key, kind, stored), row, &payload.data);
    RETURN_IF_ERROR(head.status());
    Reader reader(*head);
    RETURN_IF_ERROR(ReadMetadata(&reader, &payload.metadata));
    if (!reader.done()) return DoesNotVerify("its size is another");
    return payload;
  }

  auto header = OpenHeader(key, kind, stored, secret, row);
  RETURN_IF_ERROR(header.status());
  payload.metadata = std::move(header->metadata);
  payload.data.reserve(stored.size_bytes);
  Sha256 commitments;
  for (uint32_t number = 0; number < stored.segment_count; ++number) {
    const auto segment = read_segment(number);
    RETURN_IF_ERROR(segment.status());
    const auto opened = OpenSegment(key, kind, stored, secret, number, *segment);
    RETURN_IF_ERROR(opened.status());
    payload.data += *opened;
    commitments.Update(CommitmentOf(segment->bytes()));
  }
  if (payload.data.size() != stored.size_bytes || commitments.Finish() != header->commitments) {
    return DoesNotVerify("its segments are not those that were put");
  }
  return payload;
}

absl::StatusOr<Sealed> PayloadCipher::SealSegment(const CallKey& key, PayloadKind kind,
                                                  const StoredPayload& stored,
                                                  const SecretBytes& secret, uint32_t number,
                                                  absl::string_view data) const {
  const auto extracted = Extract(stored, secret);
  if (!extracted.ok()) return SealingError(extracted.status());
  const InputKey input_key(extracted->ExposeBytes());
  return SealParts(input_key, Context(key, kind, stored, number), {AsBytes(data)});
}

absl::StatusOr<std::string> PayloadCipher::OpenSegment(const CallKey& key, PayloadKind kind,
                                                       const StoredPayload& stored,
                                                       const SecretBytes& secret, uint32_t number,
                                                       const Sealed& segment) const {
  const auto extracted = Extract(stored, secret);
  RETURN_IF_ERROR(extracted.status());
  const InputKey input_key(extracted->ExposeBytes());
  std::string data;
  RETURN_IF_ERROR(
      Open(input_key, Context(key, kind, stored, number).bytes(), segment.bytes(), &data));
  return data;
}

absl::StatusOr<Sealed> PayloadCipher::SealHeader(const CallKey& key, PayloadKind kind,
                                                 const SecretBytes& secret,
                                                 const SegmentedHeader& header,
                                                 StoredPayload* stored) const {
  const auto extracted = Extract(*stored, secret);
  if (!extracted.ok()) return SealingError(extracted.status());
  const InputKey input_key(extracted->ExposeBytes());
  const std::string metadata = EncodeMetadata(header.metadata);
  stored->fingerprint =
      ComputeFingerprint(input_key, header.metadata, metadata, stored->size_bytes);
  const std::string encoded = EncodeSegmentedHeader(metadata, stored->size_bytes,
                                                    stored->segment_count, header.commitments);
  return SealParts(input_key, Context(key, kind, *stored), {AsBytes(encoded)});
}

absl::StatusOr<SegmentedHeader> PayloadCipher::OpenHeader(const CallKey& key, PayloadKind kind,
                                                          const StoredPayload& stored,
                                                          const SecretBytes& secret,
                                                          const Sealed& row) const {
  const auto extracted = Extract(stored, secret);
  RETURN_IF_ERROR(extracted.status());
  const InputKey input_key(extracted->ExposeBytes());
  const auto head = OpenRow(input_key, Context(key, kind, stored), row, /*data=*/nullptr);
  RETURN_IF_ERROR(head.status());
  Reader reader(*head);
  SegmentedHeader header;
  RETURN_IF_ERROR(ReadMetadata(&reader, &header.metadata));
  const uint64_t size_bytes = reader.Take<uint64_t>();
  const uint32_t segment_count = reader.Take<uint32_t>();
  const absl::string_view commitments = reader.TakeBytes(header.commitments.size());
  if (!reader.done() || segment_count != stored.segment_count || size_bytes != stored.size_bytes) {
    return DoesNotVerify("its header is another's");
  }
  std::copy(commitments.begin(), commitments.end(), header.commitments.begin());
  return header;
}

absl::StatusOr<Sealed> PayloadCipher::SealMetadata(const CallKey& key, PayloadKind kind,
                                                   const SecretBytes& secret,
                                                   const PayloadMetadata& metadata,
                                                   StoredPayload* stored) const {
  const auto extracted = ExtractForNew(secret, stored);
  RETURN_IF_ERROR(extracted.status());
  const InputKey input_key(extracted->ExposeBytes());
  return SealParts(input_key, Context(key, kind, *stored, kMetadataNumber),
                   {AsBytes(EncodeMetadata(metadata))});
}

absl::StatusOr<PayloadMetadata> PayloadCipher::OpenMetadata(const CallKey& key, PayloadKind kind,
                                                            const StoredPayload& stored,
                                                            const SecretBytes& secret,
                                                            const Sealed& sealed) const {
  const auto encoded = OpenSegment(key, kind, stored, secret, kMetadataNumber, sealed);
  RETURN_IF_ERROR(encoded.status());
  PayloadMetadata metadata;
  if (!DecodeMetadata(*encoded, &metadata)) return DoesNotVerify("its metadata is malformed");
  return metadata;
}

absl::StatusOr<Fingerprint> PayloadCipher::FingerprintOf(const StoredPayload& stored,
                                                         const SecretBytes& secret,
                                                         const PayloadMetadata& metadata,
                                                         uint64_t size_bytes) const {
  const auto extracted = Extract(stored, secret);
  RETURN_IF_ERROR(extracted.status());
  const InputKey input_key(extracted->ExposeBytes());
  return ComputeFingerprint(input_key, metadata, EncodeMetadata(metadata), size_bytes);
}

}  // namespace mayfly
