#include "keys/slot_format.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/string_view.h"

#include "base/check.h"
#include "base/crc32c.h"

namespace mayfly {
namespace {

constexpr absl::string_view kSlotMagic = "MAYFSLOT";
constexpr uint32_t kSlotVersion = 1;
constexpr size_t kIdentityBytes = 28;
constexpr size_t kRecordBytes = 36;
constexpr size_t kSecretOffset = 8;
constexpr size_t kChecksumOffset = kSecretOffset + kSlotSecretBytes;

uint32_t LiveChecksum(uint32_t slot, const SlotBytes& bytes) {
  uint8_t number[sizeof slot];
  StoreBigEndian(number, slot);
  return ExtendCrc32c(Crc32c(ByteSpan(bytes.data(), kChecksumOffset)), number);
}

bool IsZero(ByteSpan bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

bool EndsInItsChecksum(ByteSpan page, size_t size) {
  return page.size() >= size + sizeof(uint32_t) &&
         LoadBigEndian<uint32_t>(page.data() + size) == Crc32c(page.first(size));
}

}  // namespace

std::string EncodeIdentity(const StoreId& store_id) {
  std::string page(kSlotMagic.data(), kSlotMagic.size());
  AppendBigEndian(&page, kSlotVersion);
  page.append(reinterpret_cast<const char*>(store_id.data()), store_id.size());
  AppendBigEndian(&page, Crc32c(AsBytes(page)));
  page.resize(kSlotPageBytes);
  return page;
}

std::optional<StoreId> DecodeIdentity(ByteSpan page) {
  if (!EndsInItsChecksum(page, kIdentityBytes)) return std::nullopt;
  if (AsText(page.first(kSlotMagic.size())) != kSlotMagic) return std::nullopt;
  if (LoadBigEndian<uint32_t>(page.data() + kSlotMagic.size()) != kSlotVersion) return std::nullopt;
  StoreId store_id;
  std::copy_n(page.data() + kIdentityBytes - store_id.size(), store_id.size(), store_id.begin());
  return store_id;
}

std::string EncodeRecord(const StateRecord& record) {
  std::string page;
  AppendBigEndian(&page, record.counter);
  AppendBigEndian(&page, record.boot_number);
  AppendBigEndian(&page, record.synced_sequence);
  AppendBigEndian(&page, record.synced_generation);
  AppendBigEndian(&page, record.capacity);
  AppendBigEndian(&page, Crc32c(AsBytes(page)));
  page.resize(kSlotPageBytes);
  return page;
}

std::optional<StateRecord> DecodeRecord(ByteSpan page) {
  if (!EndsInItsChecksum(page, kRecordBytes)) return std::nullopt;
  return StateRecord{.counter = LoadBigEndian<uint64_t>(page.data()),
                     .boot_number = LoadBigEndian<uint64_t>(page.data() + 8),
                     .synced_sequence = LoadBigEndian<uint64_t>(page.data() + 16),
                     .synced_generation = LoadBigEndian<uint64_t>(page.data() + 24),
                     .capacity = LoadBigEndian<uint32_t>(page.data() + 32)};
}

SlotBytes EncodeLiveSlot(SlotRef ref, ByteSpan secret) {
  Check(secret.size() == kSlotSecretBytes, "a slot's secret has 20 bytes");
  SlotBytes bytes;
  StoreBigEndian(bytes.data(), ref.generation);
  memcpy(bytes.data() + kSecretOffset, secret.data(), secret.size());
  StoreBigEndian(bytes.data() + kChecksumOffset, LiveChecksum(ref.slot, bytes));
  return bytes;
}

SlotBytes EncodeErasedSlot(SlotRef ref) {
  SlotBytes bytes{};
  StoreBigEndian(bytes.data(), ref.generation);
  StoreBigEndian(bytes.data() + kChecksumOffset, ~LiveChecksum(ref.slot, bytes));
  return bytes;
}

SlotContent DecodeSlot(uint32_t slot, const SlotBytes& bytes) {
  const uint64_t generation = LoadBigEndian<uint64_t>(bytes.data());
  if (generation == 0 && IsZero(bytes)) return {};
  const uint32_t checksum = LoadBigEndian<uint32_t>(bytes.data() + kChecksumOffset);
  const uint32_t live_checksum = LiveChecksum(slot, bytes);
  if (checksum == live_checksum) return {SlotContent::Kind::kLive, generation};
  if (checksum == ~live_checksum && IsZero(SecretIn(bytes))) {
    return {SlotContent::Kind::kErased, generation};
  }
  return {SlotContent::Kind::kDamaged, generation};
}

ByteSpan SecretIn(const SlotBytes& bytes) {
  return ByteSpan(bytes.data() + kSecretOffset, kSlotSecretBytes);
}

}  // namespace mayfly
