#include "keys/keyring_format.h"

#include <algorithm>
#include <array>

#include "absl/status/status.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "crypto/chunked_aead.h"
#include "crypto/constant_time.h"
#include "crypto/hkdf.h"

namespace mayfly {
namespace {

constexpr absl::string_view kMagic = "MAYFKEYS";
constexpr uint32_t kVersion = 1;
constexpr absl::string_view kRootCheckLabel = "mayfly keyring root check v1";
constexpr absl::string_view kWrapLabel = "mayfly keyring wrap v1";
constexpr absl::string_view kContextLabel = "mayfly epoch key v1";

constexpr size_t kVersionOffset = 8;
constexpr size_t kRootCheckOffset = 12;
constexpr size_t kRootCheckSize = 16;
constexpr size_t kStoreIdOffset = kRootCheckOffset + kRootCheckSize;
constexpr size_t kCountOffset = kStoreIdOffset + sizeof(StoreId);
constexpr size_t kKeysOffset = kCountOffset + 4;
constexpr size_t kHourSize = 8;
constexpr size_t kEntrySize = kHourSize + kWrappedKeySize;
constexpr size_t kChecksumSize = 4;

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

std::string ContextOf(EpochHour hour) {
  std::string context(kContextLabel.data(), kContextLabel.size());
  AppendBigEndian(&context, hour);
  return context;
}

absl::Status Damaged() {
  return absl::DataLossError(
      "the keyring keys/keyring is damaged: restore the data directory, or move it "
      "away to start empty");
}

}  // namespace

std::string WrapEpochKey(const SecretBytes& root_key, EpochHour hour, const SecretBytes& key) {
  Check(key.size() == kEpochKeySize, "an epoch key has 32 bytes");
  std::string wrapped;
  Seal(WrapKeyOf(root_key), AsBytes(ContextOf(hour)), {key.ExposeBytes()}, &wrapped);
  return wrapped;
}

absl::StatusOr<SecretBytes> UnwrapEpochKey(const SecretBytes& root_key, EpochHour hour,
                                           absl::string_view wrapped) {
  if (wrapped.size() != kWrappedKeySize) return Damaged();
  SecretBytes key(kEpochKeySize);
  const absl::Status opened = Open(WrapKeyOf(root_key), AsBytes(ContextOf(hour)), AsBytes(wrapped),
                                   key.ExposeMutableBytes());
  if (!opened.ok()) return Damaged();
  return key;
}

std::string EncodeKeyring(const SecretBytes& root_key, const KeyringContent& keyring) {
  std::string content(kMagic.data(), kMagic.size());
  AppendBigEndian(&content, kVersion);
  const RootCheck check = RootCheckOf(root_key);
  content.append(reinterpret_cast<const char*>(check.data()), check.size());
  content.append(keyring.store_id.begin(), keyring.store_id.end());
  AppendBigEndian(&content, static_cast<uint32_t>(keyring.keys.size()));
  for (const auto& [hour, wrapped] : keyring.keys) {
    AppendBigEndian(&content, hour);
    content += wrapped;
  }
  AppendBigEndian(&content, Crc32c(AsBytes(content)));
  return content;
}

absl::StatusOr<KeyringContent> DecodeKeyring(const SecretBytes& root_key,
                                             absl::string_view content) {
  if (content.size() < kKeysOffset + kChecksumSize) return Damaged();
  const ByteSpan bytes = AsBytes(content);
  const size_t checked_size = bytes.size() - kChecksumSize;
  // The checksum before the root check, so that damage is never taken for a wrong root key.
  if (LoadBigEndian<uint32_t>(bytes.data() + checked_size) != Crc32c(bytes.first(checked_size))) {
    return Damaged();
  }
  if (content.substr(0, kMagic.size()) != kMagic) return Damaged();
  if (LoadBigEndian<uint32_t>(bytes.data() + kVersionOffset) != kVersion) return Damaged();
  if (!EqualInConstantTime(bytes.subspan(kRootCheckOffset, kRootCheckSize),
                           RootCheckOf(root_key))) {
    return absl::FailedPreconditionError(
        "the root key is not the one that keys/keyring was made or last rotated with: let "
        "keys.root_key_file or keys.root_key_credential name that one, which after "
        "--rotate-root-key is the new one, or move the whole data directory away to start empty");
  }
  const size_t count = LoadBigEndian<uint32_t>(bytes.data() + kCountOffset);
  if (count > kEpochKeyCountMax || checked_size != kKeysOffset + count * kEntrySize) {
    return Damaged();
  }
  KeyringContent keyring;
  std::copy_n(bytes.data() + kStoreIdOffset, keyring.store_id.size(), keyring.store_id.begin());
  for (size_t offset = kKeysOffset; offset < checked_size; offset += kEntrySize) {
    const auto hour = LoadBigEndian<EpochHour>(bytes.data() + offset);
    keyring.keys.emplace(hour, content.substr(offset + kHourSize, kWrappedKeySize));
  }
  if (keyring.keys.size() != count) return Damaged();
  return keyring;
}

}  // namespace mayfly
