#include "storage/local/row_format.h"

#include "base/bytes.h"
#include "keys/keyring_format.h"
#include "storage/local/row_fields.h"

namespace mayfly {
namespace {

constexpr uint8_t kHeaderVersion = 2;
// The first four bytes: the version, and the number of the hour key in the other three.
constexpr int kHourKeyBits = 24;
constexpr uint8_t kTombstoneVersion = 1;
constexpr size_t kDueValueSize = 28;
constexpr size_t kTombstoneSize = 58;
constexpr size_t kErasureKeySize = kTombstoneKeySize + 8;
constexpr size_t kErasureSize = 12;
constexpr size_t kTenantFixedSize = 16;
constexpr size_t kIdWindowSize = 3 * sizeof(int64_t);
constexpr size_t kSegmentFileKeySize = 12;
constexpr size_t kSegmentFileSize = 9;
constexpr size_t kUsageSize = 16;
constexpr size_t kUploadKeySize = 20;
constexpr size_t kUploadFixedSize = 17 + kRowHeaderSize;

std::optional<PayloadKind> KindOf(uint8_t value) {
  if (value != 1 && value != 2) return std::nullopt;
  return static_cast<PayloadKind>(value);
}

}  // namespace

CallRowKey EncodeCallKey(const CallKey& key, PayloadKind kind) {
  CallRowKey out;
  FieldWriter(out.data()).Key(key).Number(static_cast<uint8_t>(kind));
  return out;
}

std::optional<std::pair<CallKey, PayloadKind>> DecodeCallKey(absl::string_view key) {
  if (key.size() != kCallKeySize) return std::nullopt;
  FieldReader reader(key);
  const CallKey call = reader.ReadKey();
  const std::optional<PayloadKind> kind = KindOf(reader.Read<uint8_t>());
  if (!kind) return std::nullopt;
  return std::pair(call, *kind);
}

RowHeader EncodeRowHeader(const StoredPayload& payload) {
  RowHeader out;
  FieldWriter(out.data())
      .Number(uint32_t{kHeaderVersion} << kHourKeyBits | payload.hour_key)
      .Slot(payload.slot)
      .Number(payload.attempt)
      .Number(payload.segment_count)
      .Number(payload.size_bytes)
      .Number(payload.stored_ms)
      .Number(payload.deadline_ms)
      .Bytes(payload.fingerprint);
  return out;
}

std::optional<StoredPayload> DecodeRowHeader(absl::string_view row) {
  if (row.size() < kRowHeaderSize) return std::nullopt;
  FieldReader reader(row);
  const auto version_and_key = reader.Read<uint32_t>();
  if (version_and_key >> kHourKeyBits != kHeaderVersion) return std::nullopt;
  StoredPayload payload;
  payload.hour_key = version_and_key & kHourKeyNumberMax;
  payload.slot = reader.ReadSlot();
  payload.attempt = reader.Read<uint32_t>();
  payload.segment_count = reader.Read<uint32_t>();
  payload.size_bytes = reader.Read<uint64_t>();
  payload.stored_ms = reader.Read<int64_t>();
  payload.deadline_ms = reader.Read<int64_t>();
  payload.fingerprint = reader.ReadArray<Fingerprint>();
  return payload;
}

SegmentRowKey EncodeSegmentKey(const CallKey& key, SlotRef slot, uint32_t number) {
  SegmentRowKey out;
  FieldWriter(out.data()).Key(key).Slot(slot).Number(number);
  return out;
}

std::optional<std::pair<SegmentsRef, uint32_t>> DecodeSegmentKey(absl::string_view key) {
  if (key.size() != kSegmentKeySize) return std::nullopt;
  FieldReader reader(key);
  SegmentsRef segments;
  segments.key = reader.ReadKey();
  segments.slot = reader.ReadSlot();
  const auto number = reader.Read<uint32_t>();
  return std::pair(segments, number);
}

SegmentRowValue EncodeSegmentExtent(const SegmentExtent& extent) {
  SegmentRowValue out;
  FieldWriter(out.data())
      .File(extent.file)
      .Number(extent.offset)
      .Number(extent.size_bytes)
      .Number(extent.crc32c);
  return out;
}

std::optional<SegmentExtent> DecodeSegmentExtent(absl::string_view value) {
  if (value.size() != kSegmentValueSize) return std::nullopt;
  FieldReader reader(value);
  SegmentExtent extent;
  extent.file = reader.ReadFile();
  extent.offset = reader.Read<uint64_t>();
  extent.size_bytes = reader.Read<uint32_t>();
  extent.crc32c = reader.Read<uint32_t>();
  return extent;
}

std::string EncodeSegmentFileKey(const SegmentFileId& id) {
  std::string out(kSegmentFileKeySize, '\0');
  FieldWriter(out.data()).File(id);
  return out;
}

std::string EncodeSegmentFile(const SegmentFileRow& row) {
  std::string out(kSegmentFileSize, '\0');
  FieldWriter(out.data()).Number(row.synced_bytes).Number(static_cast<uint8_t>(row.is_given_up));
  return out;
}

std::optional<std::pair<SegmentFileId, SegmentFileRow>> DecodeSegmentFile(absl::string_view key,
                                                                          absl::string_view value) {
  if (key.size() != kSegmentFileKeySize || value.size() != kSegmentFileSize) return std::nullopt;
  const SegmentFileId id = FieldReader(key).ReadFile();
  FieldReader reader(value);
  SegmentFileRow row;
  row.synced_bytes = reader.Read<uint64_t>();
  const auto flags = reader.Read<uint8_t>();
  if (flags > 1) return std::nullopt;
  row.is_given_up = flags == 1;
  return std::pair(id, row);
}

std::string EncodeSecond(int64_t second) {
  std::string out;
  AppendBigEndian(&out, second);
  return out;
}

DueRowKey EncodeDueKey(const DuePayload& due) {
  DueRowKey out;
  FieldWriter(out.data()).Number(due.due_s).Key(due.key).Number(static_cast<uint8_t>(due.kind));
  return out;
}

std::string EncodeDueValue(const DuePayload& due) {
  std::string out(kDueValueSize, '\0');
  FieldWriter(out.data()).Slot(due.slot).Number(due.size_bytes).Number(due.stored_ms);
  return out;
}

std::optional<DuePayload> DecodeDue(absl::string_view key, absl::string_view value) {
  if (key.size() != kDueKeySize || value.size() != kDueValueSize) return std::nullopt;
  FieldReader key_reader(key);
  DuePayload due;
  due.due_s = key_reader.Read<int64_t>();
  due.key = key_reader.ReadKey();
  const std::optional<PayloadKind> kind = KindOf(key_reader.Read<uint8_t>());
  if (!kind) return std::nullopt;
  due.kind = *kind;
  FieldReader value_reader(value);
  due.slot = value_reader.ReadSlot();
  due.size_bytes = value_reader.Read<uint64_t>();
  due.stored_ms = value_reader.Read<int64_t>();
  return due;
}

TombstoneRowKey EncodeTombstoneKey(const CallKey& key) {
  TombstoneRowKey out;
  FieldWriter(out.data()).Key(key);
  return out;
}

std::string EncodeTombstone(const Tombstone& tombstone) {
  std::string out(kTombstoneSize, '\0');
  FieldWriter(out.data())
      .Number(kTombstoneVersion)
      .Number(static_cast<uint8_t>(tombstone.reason))
      .Number(tombstone.ended_ms)
      .Number(tombstone.forget_ms)
      .Bytes(tombstone.token)
      .Slot(tombstone.input)
      .Slot(tombstone.output);
  return out;
}

std::optional<Tombstone> DecodeTombstone(absl::string_view value) {
  if (value.size() != kTombstoneSize) return std::nullopt;
  FieldReader reader(value);
  if (reader.Read<uint8_t>() != kTombstoneVersion) return std::nullopt;
  const uint8_t reason = reader.Read<uint8_t>();
  if (reason < 1 || reason > 3) return std::nullopt;
  Tombstone tombstone;
  tombstone.reason = static_cast<EndReason>(reason);
  tombstone.ended_ms = reader.Read<int64_t>();
  tombstone.forget_ms = reader.Read<int64_t>();
  tombstone.token = reader.ReadArray<TokenHash>();
  tombstone.input = reader.ReadSlot();
  tombstone.output = reader.ReadSlot();
  return tombstone;
}

std::string EncodeErasureKey(const CallKey& key, SlotRef slot) {
  std::string out(kErasureKeySize, '\0');
  FieldWriter(out.data()).Key(key).Number(slot.generation);
  return out;
}

std::string EncodeErasure(SlotRef slot) {
  std::string out(kErasureSize, '\0');
  FieldWriter(out.data()).Slot(slot);
  return out;
}

std::optional<NamedSlots> DecodeNamedSlots(absl::string_view key, absl::string_view value) {
  if (key.size() == kErasureKeySize && value.size() == kErasureSize) {
    return NamedSlots{FieldReader(value).ReadSlot(), SlotRef{}};
  }
  const std::optional<Tombstone> tombstone = DecodeTombstone(value);
  if (key.size() != kTombstoneKeySize || !tombstone) return std::nullopt;
  return NamedSlots{tombstone->input, tombstone->output};
}

std::string EncodeTenantKey(TenantNumber number) {
  std::string out;
  AppendBigEndian(&out, static_cast<uint32_t>(number));
  return out;
}

std::string EncodeTenant(absl::string_view name, const TenantRecord& record) {
  std::string out;
  AppendBigEndian(&out, record.dead_before_ms);
  AppendBigEndian(&out, record.max_ttl_ms);
  out.append(name.data(), name.size());
  return out;
}

std::optional<std::pair<std::string, TenantRecord>> DecodeTenant(absl::string_view key,
                                                                 absl::string_view value) {
  if (key.size() != sizeof(uint32_t) || value.size() <= kTenantFixedSize) return std::nullopt;
  TenantRecord record;
  record.number = TenantNumber{FieldReader(key).Read<uint32_t>()};
  FieldReader reader(value);
  record.dead_before_ms = reader.Read<int64_t>();
  record.max_ttl_ms = reader.Read<int64_t>();
  return std::make_pair(std::string(value.substr(kTenantFixedSize)), record);
}

std::string EncodeUsageKey(uint32_t shard, TenantNumber tenant) {
  std::string out;
  AppendBigEndian(&out, shard);
  AppendBigEndian(&out, static_cast<uint32_t>(tenant));
  return out;
}

std::string EncodeUsage(const TenantUsage& usage) {
  std::string out;
  AppendBigEndian(&out, usage.live_calls);
  AppendBigEndian(&out, usage.live_bytes);
  return out;
}

std::optional<std::pair<uint32_t, TenantUsage>> DecodeUsage(absl::string_view key,
                                                            absl::string_view value) {
  if (key.size() != 2 * sizeof(uint32_t) || value.size() != kUsageSize) return std::nullopt;
  FieldReader key_reader(key);
  const uint32_t shard = key_reader.Read<uint32_t>();
  TenantUsage usage;
  usage.tenant = TenantNumber{key_reader.Read<uint32_t>()};
  FieldReader reader(value);
  usage.live_calls = reader.Read<int64_t>();
  usage.live_bytes = reader.Read<int64_t>();
  return std::make_pair(shard, usage);
}

std::string EncodeIdWindow(const IdWindowRecord& record) {
  std::string out;
  AppendBigEndian(&out, record.window_ms);
  AppendBigEndian(&out, record.narrower_ms);
  AppendBigEndian(&out, record.floor_ms);
  return out;
}

std::optional<IdWindowRecord> DecodeIdWindow(absl::string_view value) {
  if (value.size() != kIdWindowSize) return std::nullopt;
  FieldReader reader(value);
  IdWindowRecord record;
  record.window_ms = reader.Read<int64_t>();
  record.narrower_ms = reader.Read<int64_t>();
  record.floor_ms = reader.Read<int64_t>();
  return record;
}

std::string EncodeUploadKey(TenantNumber tenant, const UploadId& id) {
  std::string out(kUploadKeySize, '\0');
  FieldWriter(out.data()).Number(static_cast<uint32_t>(tenant)).Bytes(id);
  return out;
}

std::string EncodeUpload(const StoredUpload& upload) {
  std::string out(kUploadFixedSize + upload.metadata.size(), '\0');
  const RowHeader header = EncodeRowHeader(upload.payload);
  FieldWriter(out.data())
      .Number(static_cast<uint8_t>(upload.kind))
      .Bytes(upload.key.id.bytes())
      .Bytes(AsBytes(AsText(header)))
      .Bytes(upload.metadata.bytes());
  return out;
}

std::optional<StoredUpload> DecodeUpload(absl::string_view key, absl::string_view value) {
  if (key.size() != kUploadKeySize || value.size() < kUploadFixedSize) return std::nullopt;
  FieldReader key_reader(key);
  StoredUpload upload;
  upload.key.tenant = TenantNumber{key_reader.Read<uint32_t>()};
  upload.id = key_reader.ReadArray<UploadId>();
  FieldReader reader(value);
  const std::optional<PayloadKind> kind = KindOf(reader.Read<uint8_t>());
  const auto call_id = reader.ReadArray<std::array<uint8_t, CallId::kSize>>();
  const auto payload = DecodeRowHeader(value.substr(kUploadFixedSize - kRowHeaderSize));
  if (!kind || !payload) return std::nullopt;
  upload.kind = *kind;
  upload.key.id = CallId::FromBytes(call_id);
  upload.payload = *payload;
  upload.metadata = Sealed::CopyOf(AsBytes(value.substr(kUploadFixedSize)));
  return upload;
}

}  // namespace mayfly
