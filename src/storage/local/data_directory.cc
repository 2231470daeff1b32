#include "storage/local/data_directory.h"

#include <cstring>
#include <errno.h>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <sys/stat.h>

#include "base/error.h"

namespace mayfly {
namespace {

constexpr mode_t kDirectoryMode = 0700;
constexpr mode_t kOthersMask = 0077;

// `what` stands for the path in error texts.
absl::Status OwnDirectory(const std::string& path, absl::string_view what) {
  if (mkdir(path.c_str(), kDirectoryMode) != 0 && errno != EEXIST) {
    return absl::UnavailableError(absl::StrCat(what, " cannot be made: ", strerrordesc_np(errno)));
  }
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    return absl::UnavailableError(
        absl::StrCat(what, " cannot be looked at: ", strerrordesc_np(errno)));
  }
  if (!S_ISDIR(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(what, " is not a directory"));
  }
  if ((info.st_mode & kOthersMask) != 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s has mode %04o, wants 0700: others than the owner may enter it", what,
                        info.st_mode & 07777));
  }
  return absl::OkStatus();
}

std::string ParentOf(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::absolute(path).parent_path();
  // A trailing slash names the directory itself once more.
  return parent.filename().empty() ? parent.parent_path().string() : parent.string();
}

// RocksDB makes CURRENT before any file that holds data, and syncs the directory in between.
absl::StatusOr<bool> HasData(const std::string& database_path) {
  bool has_current = false;
  bool has_files = false;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(database_path, error)) {
    const std::string name = entry.path().filename().string();
    has_current |= name == "CURRENT";
    has_files |= absl::EndsWith(name, ".sst") || absl::EndsWith(name, ".log") ||
                 absl::EndsWith(name, ".blob");
  }
  if (error) {
    return absl::UnavailableError(
        absl::StrCat("the database directory cannot be listed: ", error.message()));
  }
  if (has_files && !has_current) {
    return absl::FailedPreconditionError(
        "the database directory holds data but no CURRENT file: restore it, or move the whole "
        "data directory away to start empty");
  }
  return has_current;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataDirectory>> DataDirectory::Open(const std::string& path,
                                                                   FileSystem* file_system) {
  RETURN_IF_ERROR(OwnDirectory(path, "the data directory"));
  auto directory = std::unique_ptr<DataDirectory>(new DataDirectory(path));
  // Before anything is written: even a start that is refused later counts up the boots.
  const rocksdb::Status locked =
      rocksdb::Env::Default()->LockFile(path + "/lock", &directory->lock_);
  if (!locked.ok()) {
    // RocksDB tells the two apart in words only.
    if (absl::StrContains(locked.ToString(), "open a file for lock")) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the data directory's lock file cannot be opened, see who owns it: ", locked.ToString()));
    }
    return absl::FailedPreconditionError(
        "the data directory is in use by another process: end that first");
  }
  RETURN_IF_ERROR(OwnDirectory(directory->keys_path_, "the key directory"));
  RETURN_IF_ERROR(OwnDirectory(directory->database_path_, "the database directory"));
  RETURN_IF_ERROR(file_system->SyncDirectory(path));
  RETURN_IF_ERROR(file_system->SyncDirectory(ParentOf(path)));
  auto has_data = HasData(directory->database_path_);
  RETURN_IF_ERROR(has_data.status());
  directory->has_data_ = *has_data;
  return directory;
}

DataDirectory::DataDirectory(const std::string& path)
    : keys_path_(path + "/keys"), database_path_(path + "/db") {}

DataDirectory::~DataDirectory() {
  if (lock_ != nullptr) rocksdb::Env::Default()->UnlockFile(lock_).PermitUncheckedError();
}

}  // namespace mayfly
