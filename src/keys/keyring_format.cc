#include "keys/keyring_format.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "crypto/chunked_aead.h"
#include "crypto/constant_time.h"
#include "crypto/hkdf.h"

namespace mayfly {
namespace {

constexpr absl::string_view kMagic = "MAYFKEYS";
constexpr uint32_t kVersion = 2;
constexpr absl::string_view kRootCheckLabel = "mayfly keyring root check v1";
constexpr absl::string_view kWrapLabel = "mayfly keyring wrap v1";
constexpr absl::string_view kContextLabel = "mayfly hour key v1";

constexpr size_t kVersionOffset = 8;
constexpr size_t kRotationOffset = 12;
constexpr size_t kRootCheckOffset = 20;
constexpr size_t kRootCheckSize = 16;
constexpr size_t kStoreIdOffset = kRootCheckOffset + kRootCheckSize;
constexpr size_t kHeaderChecksumOffset = kStoreIdOffset + sizeof(StoreId);

constexpr size_t kHourOffset = 4;
constexpr size_t kFirstOpenOffset = 12;
constexpr size_t kSealedKeyOffset = 16;
constexpr size_t kCellChecksumOffset = kSealedKeyOffset + kSealedHourKeySize;

using RootCheck = std::array<uint8_t, kRootCheckSize>;

RootCheck RootCheckOf(const SecretBytes& root_key) {
  RootCheck check;
  HkdfExpand(HmacKey(root_key.ExposeBytes()), {AsBytes(kRootCheckLabel)}, absl::MakeSpan(check));
  return check;
}

InputKey WrapKeyOf(const SecretBytes& root_key) {
  SecretBytes key(kInputKeySize);
  HkdfExpand(HmacKey(root_key.ExposeBytes()), {AsBytes(kWrapLabel)}, key.ExposeMutableBytes());
  return InputKey(key.ExposeBytes());
}

std::string ContextOf(const StoreId& store_id, const KeyringCell& cell) {
  std::string context(kContextLabel.data(), kContextLabel.size());
  context.append(store_id.begin(), store_id.end());
  AppendBigEndian(&context, cell.number);
  AppendBigEndian(&context, cell.hour);
  AppendBigEndian(&context, cell.first_open);
  return context;
}

// The checksum of the first `checked_size` bytes follows them, and zeros follow the checksum.
bool IsWhole(ByteSpan sector, size_t checked_size) {
  if (sector.size() != kKeyringSectorBytes) return false;
  const ByteSpan rest = sector.subspan(checked_size + sizeof(uint32_t));
  return LoadBigEndian<uint32_t>(sector.data() + checked_size) ==
             Crc32c(sector.first(checked_size)) &&
         std::all_of(rest.begin(), rest.end(), [](uint8_t byte) { return byte == 0; });
}

void AddChecksum(size_t checked_size, KeyringSector* sector) {
  StoreBigEndian(sector->data() + checked_size, Crc32c(ByteSpan(*sector).first(checked_size)));
}

bool HasMagic(ByteSpan sector) {
  return sector.size() >= kRotationOffset && AsText(sector.first(kMagic.size())) == kMagic;
}

}  // namespace

bool IsNewer(const KeyringCell& cell, const KeyringCell& than) {
  return std::pair(cell.number, cell.first_open) > std::pair(than.number, than.first_open);
}

KeyringSector EncodeKeyringHeader(const SecretBytes& root_key, const KeyringHeader& header) {
  KeyringSector sector{};
  std::copy(kMagic.begin(), kMagic.end(), sector.begin());
  StoreBigEndian(sector.data() + kVersionOffset, kVersion);
  StoreBigEndian(sector.data() + kRotationOffset, header.rotation);
  const RootCheck check = RootCheckOf(root_key);
  std::copy(check.begin(), check.end(), sector.begin() + kRootCheckOffset);
  std::copy(header.store_id.begin(), header.store_id.end(), sector.begin() + kStoreIdOffset);
  AddChecksum(kHeaderChecksumOffset, &sector);
  return sector;
}

std::optional<KeyringHeader> DecodeKeyringHeader(ByteSpan sector) {
  if (!IsWhole(sector, kHeaderChecksumOffset) || !HasMagic(sector)) return std::nullopt;
  if (LoadBigEndian<uint32_t>(sector.data() + kVersionOffset) != kVersion) return std::nullopt;
  KeyringHeader header;
  header.rotation = LoadBigEndian<uint64_t>(sector.data() + kRotationOffset);
  std::copy_n(sector.data() + kStoreIdOffset, header.store_id.size(), header.store_id.begin());
  return header;
}

bool IsOfRootKey(const SecretBytes& root_key, ByteSpan sector) {
  return EqualInConstantTime(sector.subspan(kRootCheckOffset, kRootCheckSize),
                             RootCheckOf(root_key));
}

bool IsOlderKeyring(ByteSpan sector) {
  return HasMagic(sector) && LoadBigEndian<uint32_t>(sector.data() + kVersionOffset) < kVersion;
}

KeyringSector EncodeKeyringCell(const KeyringCell& cell) {
  KeyringSector sector{};
  StoreBigEndian(sector.data(), cell.number);
  StoreBigEndian(sector.data() + kHourOffset, cell.hour);
  StoreBigEndian(sector.data() + kFirstOpenOffset, cell.first_open);
  std::copy(cell.sealed_key.begin(), cell.sealed_key.end(), sector.begin() + kSealedKeyOffset);
  AddChecksum(kCellChecksumOffset, &sector);
  return sector;
}

std::optional<KeyringCell> DecodeKeyringCell(ByteSpan sector) {
  if (!IsWhole(sector, kCellChecksumOffset)) return std::nullopt;
  KeyringCell cell;
  cell.number = LoadBigEndian<HourKeyNumber>(sector.data());
  cell.hour = LoadBigEndian<Hour>(sector.data() + kHourOffset);
  cell.first_open = LoadBigEndian<uint32_t>(sector.data() + kFirstOpenOffset);
  std::copy_n(sector.data() + kSealedKeyOffset, cell.sealed_key.size(), cell.sealed_key.begin());
  if (cell.first_open > kSecondsPerHour || cell.number > kHourKeyNumberMax) return std::nullopt;
  if (cell.number == 0 && cell.is_open()) return std::nullopt;
  return cell;
}

void SealHourKey(const SecretBytes& root_key, const StoreId& store_id, const SecretBytes& key,
                 KeyringCell* cell) {
  Check(key.size() == kHourKeySize, "an hour key has 32 bytes");
  Seal(WrapKeyOf(root_key), AsBytes(ContextOf(store_id, *cell)), {key.ExposeBytes()},
       absl::MakeSpan(cell->sealed_key));
}

absl::StatusOr<SecretBytes> OpenHourKey(const SecretBytes& root_key, const StoreId& store_id,
                                        const KeyringCell& cell) {
  SecretBytes key(kHourKeySize);
  const absl::Status opened = Open(WrapKeyOf(root_key), AsBytes(ContextOf(store_id, cell)),
                                   ByteSpan(cell.sealed_key), key.ExposeMutableBytes());
  if (!opened.ok()) return DamagedKeyring();
  return key;
}

absl::Status DamagedKeyring() {
  return absl::DataLossError(
      "the keyring keys/keyring is damaged: restore the data directory, or move it "
      "away to start empty");
}

}  // namespace mayfly
