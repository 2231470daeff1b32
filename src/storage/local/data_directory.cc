#include "storage/local/data_directory.h"

#include <algorithm>
#include <cstring>
#include <errno.h>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/error.h"
#include "keys/key_directory.h"

namespace mayfly {
namespace {

constexpr mode_t kDirectoryMode = 0700;
constexpr mode_t kOthersMask = 0077;
constexpr absl::string_view kSetting = "storage.data_dir";
constexpr absl::string_view kKeys = "the key directory";
constexpr absl::string_view kDatabase = "the database directory";
constexpr absl::string_view kSegments = "the segment directory";

// "storage.data_dir /var/lib/mayfly cannot be made: ..."; `what` is the setting, or says whose part the
// directory is.
absl::Status CheckDirectory(const std::string& path, absl::string_view what) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    return absl::UnavailableError(absl::StrCat(what, " ", path, " cannot be looked at by user ",
                                               geteuid(), ": ", strerrordesc_np(errno)));
  }
  if (!S_ISDIR(info.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(what, " ", path, " is not a directory: choose another path"));
  }
  if ((info.st_mode & kOthersMask) != 0) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s %s has mode %04o, limit is 0700, because others than the owner may enter it: run "
        "chmod 700 %s",
        what, path, info.st_mode & 07777, path));
  }
  if (info.st_uid != geteuid()) {
    return absl::FailedPreconditionError(absl::StrCat(
        what, " ", path, " belongs to user ", info.st_uid, ", expected user ", geteuid(),
        ", who runs the server: run the server as its owner, or chown -R ", geteuid(), " ", path));
  }
  return absl::OkStatus();
}

absl::Status OwnDirectory(const std::string& path, absl::string_view what) {
  if (mkdir(path.c_str(), kDirectoryMode) != 0 && errno != EEXIST) {
    return absl::UnavailableError(absl::StrCat(
        what, " ", path, " cannot be made by user ", geteuid(), ": ", strerrordesc_np(errno),
        ": make it with install -d -m 700 -o ", geteuid(), " ", path, ", or choose another path"));
  }
  return CheckDirectory(path, what);
}

// The process that holds a lock on the file, by proc_locks(5); 0 when that does not tell.
//
//   1: POSIX  ADVISORY  WRITE 4711 fe:00:131090 0 EOF
int LockHolder(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return 0;
  const std::string file = absl::StrFormat("%02x:%02x:%u", major(info.st_dev), minor(info.st_dev),
                                           static_cast<uint64_t>(info.st_ino));
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    int holder = 0;
    // Those who wait for a lock have an arrow before the rest.
    if (fields.size() >= 6 && fields[5] == file && absl::SimpleAtoi(fields[4], &holder)) {
      return std::max(holder, 0);
    }
  }
  return 0;
}

absl::Status CannotLock(const std::string& directory, const std::string& text) {
  const std::string path = directory + "/lock";
  // RocksDB tells the two apart in words only.
  if (absl::StrContains(text, "open a file for lock")) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the lock file ", path, " of storage.data_dir cannot be opened by user ", geteuid(), ": ",
        text, ": run the server as the owner of the directory, or chown -R ", geteuid(), " ",
        directory));
  }
  const int holder = LockHolder(path);
  return absl::FailedPreconditionError(
      absl::StrCat("storage.data_dir ", directory, " is in use by another process",
                   holder == 0 ? "" : absl::StrCat(", ", holder), ", which has locked ", path,
                   ": end that first, or give this server another directory"));
}

std::string ParentOf(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::absolute(path).parent_path();
  // A trailing slash names the directory itself once more.
  return parent.filename().empty() ? parent.parent_path().string() : parent.string();
}

// RocksDB makes CURRENT before any file that holds data, and syncs the directory in between.
absl::StatusOr<bool> DatabaseHasData(const std::string& database_path) {
  bool has_current = false;
  bool has_files = false;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(database_path, error)) {
    const std::string name = entry.path().filename().string();
    has_current |= name == "CURRENT";
    has_files |= absl::EndsWith(name, ".sst") || absl::EndsWith(name, ".log");
  }
  if (error) {
    return absl::UnavailableError(absl::StrCat("the database directory ", database_path,
                                               " cannot be listed: ", error.message()));
  }
  if (has_files && !has_current) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the database directory ", database_path,
        " holds data but no CURRENT file: restore it, or move the whole data directory "
        "away to start empty"));
  }
  return has_current;
}

}  // namespace

absl::Status DataDirectory::Check(const std::string& path, bool allow_unsafe_filesystem) {
  std::error_code error;
  if (std::filesystem::exists(path, error)) {
    RETURN_IF_ERROR(CheckDirectory(path, kSetting));
    for (const auto& [part, what] :
         {std::pair(path + "/keys", kKeys), std::pair(path + "/db", kDatabase),
          std::pair(path + "/segments", kSegments)}) {
      if (std::filesystem::exists(part, error)) RETURN_IF_ERROR(CheckDirectory(part, what));
    }
    return allow_unsafe_filesystem ? absl::OkStatus() : CheckFileSystemOf(path);
  }
  const std::string parent = ParentOf(path);
  if (access(parent.c_str(), W_OK | X_OK) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(kSetting, " ", path, " does not exist, and user ", geteuid(),
                     " cannot make it in ", parent, ": ", strerrordesc_np(errno),
                     ": make it with install -d -m 700 -o ", geteuid(), " ", path));
  }
  return allow_unsafe_filesystem ? absl::OkStatus() : CheckFileSystemOf(parent);
}

int DataDirectory::Holder(const std::string& path) { return LockHolder(path + "/lock"); }

absl::StatusOr<bool> DataDirectory::HasData(const std::string& path) {
  const std::string database = path + "/db";
  std::error_code error;
  if (!std::filesystem::exists(database, error)) return false;
  return DatabaseHasData(database);
}

absl::StatusOr<std::unique_ptr<DataDirectory>> DataDirectory::Open(const std::string& path,
                                                                   FileSystem* file_system) {
  RETURN_IF_ERROR(OwnDirectory(path, kSetting));
  auto directory = std::unique_ptr<DataDirectory>(new DataDirectory(path));
  // Before anything is written: even a start that is refused later counts up the boots.
  const rocksdb::Status locked =
      rocksdb::Env::Default()->LockFile(path + "/lock", &directory->lock_);
  if (!locked.ok()) return CannotLock(path, locked.ToString());
  RETURN_IF_ERROR(OwnDirectory(directory->keys_path_, kKeys));
  RETURN_IF_ERROR(OwnDirectory(directory->database_path_, kDatabase));
  RETURN_IF_ERROR(OwnDirectory(directory->segments_path_, kSegments));
  RETURN_IF_ERROR(file_system->SyncDirectory(path));
  RETURN_IF_ERROR(file_system->SyncDirectory(ParentOf(path)));
  auto has_data = DatabaseHasData(directory->database_path_);
  RETURN_IF_ERROR(has_data.status());
  directory->has_data_ = *has_data;
  return directory;
}

DataDirectory::DataDirectory(const std::string& path)
    : keys_path_(path + "/keys"),
      database_path_(path + "/db"),
      segments_path_(path + "/segments") {}

DataDirectory::~DataDirectory() {
  if (lock_ != nullptr) rocksdb::Env::Default()->UnlockFile(lock_).PermitUncheckedError();
}

}  // namespace mayfly
