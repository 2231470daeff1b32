#include "server/preflight.h"

#include <cstdlib>
#include <errno.h>
#include <filesystem>
#include <string.h>
#include <unistd.h>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "keys/root_key.h"
#include "rpc/connection_listener.h"
#include "rpc/connection_table.h"
#include "rpc/server.h"
#include "rpc/tls_files.h"
#include "rpc/tls_validity.h"
#include "storage/local/data_directory.h"
#include "storage/local/disk_advice.h"
#include "storage/local/local_storage.h"

namespace mayfly {
namespace {

void AddFault(const absl::Status& status, Preflight* found) {
  if (!status.ok()) found->faults.emplace_back(status.message());
}

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

void CheckTls(const Config::Tls& tls, absl::Time now, Preflight* found) {
  const auto files = TlsFiles::Open(tls);
  if (!files.ok()) return AddFault(files.status(), found);
  for (std::string& warning : TlsValidityWarnings(
           tls, {.ca = (*files)->ca_text(), .certificate = (*files)->certificate_text()}, now)) {
    found->warnings.push_back(std::move(warning));
  }
}

void CheckRootKey(const Config& config, Preflight* found) {
  const Config::Keys& keys = config.keys;
  if (!keys.root_key_credential.empty() && std::getenv("CREDENTIALS_DIRECTORY") == nullptr) {
    found->warnings.push_back(absl::StrCat("keys.root_key_credential ", keys.root_key_credential,
                                           " is not checked: it exists only within its systemd "
                                           "service"));
    return;
  }
  const auto root_key = LoadConfiguredRootKey(config);
  AddFault(root_key.status(), found);
  if (root_key.ok() && Exists(config.storage.data_dir)) {
    AddFault(LocalStorage::CheckKeys(config.storage.data_dir, *root_key), found);
  }
  if (Exists(keys.root_key_file) && Exists(config.storage.data_dir)) {
    AddFault(CheckOutside(keys.root_key_file, config.storage.data_dir), found);
  }
}

void CheckStorage(const Config& config, Preflight* found) {
  const Config::Storage& storage = config.storage;
  const absl::Status directory =
      DataDirectory::Check(storage.data_dir, storage.allow_unsafe_filesystem);
  AddFault(directory, found);
  if (directory.ok() && !Exists(storage.data_dir + "/db/CURRENT")) {
    AddFault(CheckRoomForNewStore(storage.data_dir, DiskSettingsOf(config)), found);
  }
  if (const int holder = DataDirectory::Holder(storage.data_dir); holder != 0) {
    found->warnings.push_back(absl::StrCat("storage.data_dir ", storage.data_dir,
                                           " is in use by process ", holder,
                                           ": a second server would not start on it"));
  }
  if (storage.accept_data_loss) {
    found->warnings.emplace_back(
        "storage.accept_data_loss is set: the next start gives up what is lost; set it back to "
        "false after that start");
  }
}

void CheckListening(const Config::Server& server, Preflight* found) {
  const auto limits = ConnectionLimits::For(server, OpenFilesMax());
  if (!limits.ok()) {
    AddFault(limits.status(), found);
  } else if (std::string text = ConnectionShortage(server, *limits, OpenFilesMax());
             !text.empty()) {
    found->warnings.push_back(std::move(text));
  }
  const absl::Status listening = ConnectionListener::Open(server.listen).status();
  // By the server that runs with this configuration, perhaps.
  if (absl::StrContains(listening.message(), strerrordesc_np(EADDRINUSE))) {
    found->warnings.push_back(
        absl::StrCat("server.listen ", server.listen, " is in use by a process that runs"));
  } else {
    AddFault(listening, found);
  }
}

// A file that a start opens for writing, or makes.
void CheckWritable(absl::string_view setting, const std::string& path, Preflight* found) {
  if (path.empty()) return;
  const std::string directory = std::filesystem::absolute(path).parent_path().string();
  const bool is_there = Exists(path);
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    found->faults.push_back(absl::StrCat(setting, " ", path, " is a directory: name a file in it"));
    return;
  }
  if (access(is_there ? path.c_str() : directory.c_str(), W_OK) == 0) return;
  found->faults.push_back(absl::StrCat(
      setting, " ", path, " cannot be ", is_there ? "written" : "made", " by user ", geteuid(),
      ": ", strerrordesc_np(errno), ": correct the setting, or let this user write there"));
}

}  // namespace

Preflight CheckBeforeStart(const Config& config, absl::Time now) {
  Preflight found;
  CheckListening(config.server, &found);
  CheckWritable("server.port_file", config.server.port_file, &found);
  CheckTls(config.tls, now, &found);
  CheckStorage(config, &found);
  CheckRootKey(config, &found);
  CheckWritable("log.file", config.log.file, &found);
  return found;
}

absl::StatusOr<SecretBytes> LoadConfiguredRootKey(const Config& config) {
  const Config::Keys& keys = config.keys;
  if (!keys.root_key_credential.empty()) return LoadRootKeyCredential(keys.root_key_credential);
  return LoadRootKey(keys.root_key_file);
}

DiskSettings DiskSettingsOf(const Config& config) {
  return {.memtable_bytes = config.storage.memtable_bytes,
          .reserve_bytes = config.storage.disk_reserve_bytes};
}

}  // namespace mayfly
