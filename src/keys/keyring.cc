#include "keys/keyring.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "crypto/constant_time.h"
#include "crypto/hkdf.h"
#include "crypto/random.h"

namespace mayfly {
namespace {

constexpr char kFileName[] = "keyring";
constexpr char kNewFileName[] = "keyring.new";

std::string PathOf(const std::string& directory, absl::string_view name) {
  return absl::StrCat(directory, "/", name);
}

// What has been unlinked keeps its blocks for as long as it is open: this reaches them.
absl::Status Overwrite(File* file) {
  auto size = file->Size();
  RETURN_IF_ERROR(size.status());
  RETURN_IF_ERROR(file->WriteAt(0, AsBytes(std::string(*size, '\0'))));
  return file->Sync();
}

}  // namespace

bool Keyring::Exists(FileSystem* file_system, const std::string& directory) {
  return file_system->Exists(PathOf(directory, kFileName));
}

absl::Status Keyring::CheckRootKey(FileSystem* file_system, const std::string& directory,
                                   const SecretBytes& root_key) {
  return Load(file_system, PathOf(directory, kFileName), root_key).status();
}

absl::StatusOr<std::unique_ptr<Keyring>> Keyring::Create(FileSystem* file_system,
                                                         const std::string& directory,
                                                         const SecretBytes& root_key,
                                                         const StoreId& store_id, int64_t now_ms) {
  if (Exists(file_system, directory)) return absl::AlreadyExistsError("keyring exists already");
  std::unique_ptr<Keyring> keyring(new Keyring(file_system, directory, root_key, store_id));
  RETURN_IF_ERROR(keyring->EnsureAhead(now_ms));
  return keyring;
}

absl::StatusOr<std::unique_ptr<Keyring>> Keyring::Open(FileSystem* file_system,
                                                       const std::string& directory,
                                                       const SecretBytes& root_key) {
  if (!Exists(file_system, directory)) return absl::NotFoundError("keyring is missing");
  auto loaded = Load(file_system, PathOf(directory, kFileName), root_key);
  RETURN_IF_ERROR(loaded.status());
  std::unique_ptr<Keyring> keyring(new Keyring(file_system, directory, root_key, loaded->store_id));
  // A process that was killed may have renamed the file and not synced that.
  RETURN_IF_ERROR(file_system->SyncDirectory(directory));
  RETURN_IF_ERROR(keyring->RemoveLeftover());
  MutexLock lock(&keyring->mutex_);
  keyring->keys_ = std::move(loaded->keys);
  return keyring;
}

Keyring::Keyring(FileSystem* file_system, std::string directory, const SecretBytes& root_key,
                 const StoreId& store_id)
    : file_system_(file_system),
      directory_(std::move(directory)),
      path_(PathOf(directory_, kFileName)),
      new_path_(PathOf(directory_, kNewFileName)),
      store_id_(store_id),
      root_key_(root_key.ExposeBytes()) {}

absl::Status Keyring::EnsureAhead(int64_t now_ms) {
  MutexLock lock(&file_mutex_);
  EpochKeys keys = Keys();
  const size_t count_before = keys.size();
  const EpochHour last = EpochOfDeadline(now_ms + kKeysAheadMs);
  for (EpochHour hour = EpochOfDeadline(now_ms); hour <= last; ++hour) {
    if (keys.contains(hour)) continue;
    SecretBytes key(kEpochKeySize);
    FillRandom(key.ExposeMutableBytes());
    keys[hour] = std::make_shared<const EpochKey>(MakeKey(root_key_, hour, key));
  }
  if (keys.size() == count_before) return absl::OkStatus();
  if (keys.size() > kEpochKeyCountMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("epoch_key_count would be ", keys.size(), ", limit is ", kEpochKeyCountMax));
  }
  return Change(std::move(keys));
}

bool Keyring::has_failed() {
  MutexLock lock(&file_mutex_);
  return failed_;
}

absl::Status Keyring::DestroyPassed(int64_t erase_ms) {
  MutexLock lock(&file_mutex_);
  EpochKeys keys = Keys();
  const size_t count_before = keys.size();
  // An hour ends where the next begins, so the hour of erase_ms itself has not passed.
  keys.erase(keys.begin(), keys.lower_bound(EpochOfDeadline(erase_ms)));
  return keys.size() == count_before ? absl::OkStatus() : Change(std::move(keys));
}

absl::StatusOr<SecretBytes> Keyring::Extract(EpochHour hour, ByteSpan slot_secret) const {
  std::shared_ptr<const EpochKey> key;
  {
    MutexLock lock(&mutex_);
    const auto found = keys_.find(hour);
    if (found == keys_.end()) return absl::NotFoundError("epoch has no key");
    key = found->second;
  }
  SecretBytes extracted(kPseudorandomKeySize);
  HkdfExtract(HmacKey::FromSecret(key->hmac), slot_secret, extracted.ExposeMutableBytes().data());
  return extracted;
}

absl::Status Keyring::Rewrap(const SecretBytes& new_root_key) {
  MutexLock lock(&file_mutex_);
  const EpochKeys keys = Keys();
  KeyringContent rewrapped = {.store_id = store_id_};
  for (const auto& [hour, key] : keys) {
    auto unwrapped = UnwrapEpochKey(root_key_, hour, key->wrapped);
    RETURN_IF_ERROR(unwrapped.status());
    rewrapped.keys[hour] = WrapEpochKey(new_root_key, hour, *unwrapped);
  }
  RETURN_IF_ERROR(Replace(EncodeKeyring(new_root_key, rewrapped)));

  // From here on the file is the new root key's, so a failure must not be followed by a change
  // under the old one.
  failed_ = true;
  auto read_back = Load(file_system_, path_, new_root_key);
  RETURN_IF_ERROR(read_back.status());
  const bool same =
      std::equal(keys.begin(), keys.end(), read_back->keys.begin(), read_back->keys.end(),
                 [](const auto& a, const auto& b) {
                   return a.first == b.first && EqualInConstantTime(a.second->hmac.ExposeBytes(),
                                                                    b.second->hmac.ExposeBytes());
                 });
  if (!same) return absl::DataLossError("keyring read back differs from what was written");
  failed_ = false;
  root_key_ = SecretBytes(new_root_key.ExposeBytes());
  MutexLock keys_lock(&mutex_);
  keys_ = std::move(read_back->keys);
  return absl::OkStatus();
}

std::vector<EpochHour> Keyring::Hours() const {
  std::vector<EpochHour> hours;
  for (const auto& [hour, key] : Keys()) hours.push_back(hour);
  return hours;
}

std::vector<EpochHour> Keyring::MissingHours(int64_t now_ms) const {
  const EpochKeys keys = Keys();
  std::vector<EpochHour> missing;
  const EpochHour last = EpochOfDeadline(now_ms + kDeadlineAheadMsMax);
  for (EpochHour hour = EpochOfDeadline(now_ms); hour <= last; ++hour) {
    if (!keys.contains(hour)) missing.push_back(hour);
  }
  return missing;
}

Keyring::EpochKey Keyring::MakeKey(const SecretBytes& root_key, EpochHour hour,
                                   const SecretBytes& key) {
  return {.wrapped = WrapEpochKey(root_key, hour, key),
          .hmac = HmacKey(key.ExposeBytes()).ToSecret()};
}

absl::StatusOr<Keyring::Loaded> Keyring::Load(FileSystem* file_system, const std::string& path,
                                              const SecretBytes& root_key) {
  auto content = ReadFile(file_system, path, kKeyringBytesMax);
  RETURN_IF_ERROR(content.status());
  auto decoded = DecodeKeyring(root_key, *content);
  RETURN_IF_ERROR(decoded.status());
  Loaded loaded = {.store_id = decoded->store_id};
  for (auto& [hour, wrapped] : decoded->keys) {
    auto key = UnwrapEpochKey(root_key, hour, wrapped);
    RETURN_IF_ERROR(key.status());
    loaded.keys[hour] = std::make_shared<const EpochKey>(
        EpochKey{.wrapped = std::move(wrapped), .hmac = HmacKey(key->ExposeBytes()).ToSecret()});
  }
  return loaded;
}

absl::Status Keyring::Change(EpochKeys keys) {
  KeyringContent wrapped = {.store_id = store_id_};
  for (const auto& [hour, key] : keys) wrapped.keys[hour] = key->wrapped;
  RETURN_IF_ERROR(Replace(EncodeKeyring(root_key_, wrapped)));
  MutexLock lock(&mutex_);
  keys_ = std::move(keys);
  return absl::OkStatus();
}

absl::Status Keyring::Replace(absl::string_view content) {
  if (failed_) return absl::UnavailableError("keyring failed before: it must be opened again");
  RETURN_IF_ERROR(RemoveLeftover());
  {
    auto file = file_system_->Open(new_path_, /*create=*/true);
    RETURN_IF_ERROR(file.status());
    RETURN_IF_ERROR((*file)->WriteAt(0, AsBytes(content)));
    RETURN_IF_ERROR((*file)->Sync());
  }
  std::unique_ptr<File> replaced;
  if (file_system_->Exists(path_)) {
    auto file = file_system_->Open(path_, /*create=*/false);
    RETURN_IF_ERROR(file.status());
    replaced = *std::move(file);
  }
  const absl::Status published = Publish(replaced.get());
  failed_ = !published.ok();
  return published;
}

// The new file takes the old one's place, and the old one's keys are overwritten: not before the
// new one is durable.
absl::Status Keyring::Publish(File* replaced) {
  RETURN_IF_ERROR(file_system_->Rename(new_path_, path_));
  RETURN_IF_ERROR(file_system_->SyncDirectory(directory_));
  return replaced == nullptr ? absl::OkStatus() : Overwrite(replaced);
}

// What a crash or a full disk left of a new file holds wrapped keys too.
absl::Status Keyring::RemoveLeftover() {
  if (!file_system_->Exists(new_path_)) return absl::OkStatus();
  {
    auto file = file_system_->Open(new_path_, /*create=*/false);
    RETURN_IF_ERROR(file.status());
    RETURN_IF_ERROR(Overwrite(file->get()));
  }
  return file_system_->Remove(new_path_);
}

Keyring::EpochKeys Keyring::Keys() const {
  MutexLock lock(&mutex_);
  return keys_;
}

}  // namespace mayfly
