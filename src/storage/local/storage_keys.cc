// The keys of a LocalStorage: opened at its start, and checked before one.
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "keys/key_directory.h"
#include "storage/local/disk_advice.h"
#include "storage/local/local_storage.h"

namespace mayfly {
namespace {

// Tells the operator what to do about a slot file that does not open.
absl::Status RefuseSlots(const absl::Status& status) {
  if (absl::IsFailedPrecondition(status)) {
    return absl::FailedPreconditionError(
        absl::StrCat(status.message(),
                     " than the keyring keys/keyring: put the right ones back, or move the whole "
                     "data directory away to start empty"));
  }
  if (!absl::IsDataLoss(status)) return status;
  return absl::DataLossError(absl::StrCat(
      "data loss: ", status.message(),
      ": restore it, or set storage.accept_data_loss for one start to give up what is lost"));
}

// Keys are made only where there is no data.
absl::Status CheckPresent(bool has_data, bool has_keyring, bool has_slots) {
  if (!has_data || (has_keyring && has_slots)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the ", has_keyring ? "slot file" : "keyring",
                   " is missing while the database holds data: restore it, or move the whole data "
                   "directory away to start empty"));
}

}  // namespace

absl::Status LocalStorage::CheckKeys(const std::string& data_dir, const SecretBytes& root_key) {
  const auto has_data = DataDirectory::HasData(data_dir);
  RETURN_IF_ERROR(has_data.status());
  FileSystem* const files = PosixFileSystem();
  const std::string keys = data_dir + "/keys";
  const bool has_keyring = Keyring::Exists(files, keys);
  RETURN_IF_ERROR(CheckPresent(*has_data, has_keyring, SlotFile::Exists(files, keys)));
  return has_keyring ? Keyring::CheckRootKey(files, keys, root_key) : absl::OkStatus();
}

absl::Status LocalStorage::OpenKeys() {
  auto directory = DataDirectory::Open(options_.data_dir, options_.file_system);
  RETURN_IF_ERROR(directory.status());
  directory_ = *std::move(directory);
  if (!directory_->has_data()) {
    RETURN_IF_ERROR(CheckRoomForNewStore(options_.data_dir, DiskSettingsIn()));
  }
  const std::string& keys = directory_->keys_path();
  RETURN_IF_ERROR(CheckKeyDirectory(keys, options_.allow_unsafe_filesystem));

  const bool has_keyring = Keyring::Exists(options_.file_system, keys);
  const bool has_slots = SlotFile::Exists(options_.file_system, keys);
  RETURN_IF_ERROR(CheckPresent(directory_->has_data(), has_keyring, has_slots));
  SlotFileOptions slot_options = {.accept_data_loss = options_.accept_data_loss,
                                  .waits_for_rows = true};
  if (has_keyring) {
    auto keyring = Keyring::Open(options_.file_system, keys, options_.root_key);
    RETURN_IF_ERROR(keyring.status());
    keyring_ = *std::move(keyring);
    slot_options.store_id = keyring_->store_id();
  }
  auto slots = has_slots ? SlotFile::Open(options_.file_system, keys, slot_options)
                         : SlotFile::Create(options_.file_system, keys, slot_options);
  if (!slots.ok()) return RefuseSlots(slots.status());
  slots_ = *std::move(slots);
  if (has_keyring) return absl::OkStatus();
  auto keyring = Keyring::Create(options_.file_system, keys, options_.root_key, slots_->store_id(),
                                 options_.now_ms);
  RETURN_IF_ERROR(keyring.status());
  keyring_ = *std::move(keyring);
  return absl::OkStatus();
}

}  // namespace mayfly
