#include "cli/output_file.h"

#include <filesystem>
#include <memory>
#include <unistd.h>

#include "absl/strings/str_cat.h"

#include "base/error.h"

namespace mayfly::cli {
namespace {

namespace fs = std::filesystem;

absl::Status WriteAndSync(FileSystem* file_system, const std::string& path, ByteSpan data) {
  absl::StatusOr<std::unique_ptr<File>> file = file_system->Open(path, /*create=*/true);
  RETURN_IF_ERROR(file.status());
  RETURN_IF_ERROR((*file)->WriteAt(0, data));
  return (*file)->Sync();
}

absl::Status ReplaceWhole(FileSystem* file_system, const fs::path& path, ByteSpan data) {
  const fs::path directory = path.has_parent_path() ? path.parent_path() : fs::path(".");
  // The process id keeps two retrievals into one directory apart.
  const std::string temporary =
      (directory / absl::StrCat(".", path.filename().string(), ".", getpid(), ".mayfly")).string();
  absl::Status status = WriteAndSync(file_system, temporary, data);
  if (status.ok()) status = file_system->Rename(temporary, path.string());
  if (!status.ok()) {
    file_system->Remove(temporary).IgnoreError();
    return status;
  }
  return file_system->SyncDirectory(directory.string());
}

}  // namespace

absl::Status CheckOutputPath(const std::string& path) {
  std::error_code error;
  const fs::file_status target = fs::status(path, error);
  if (fs::exists(target) && !fs::is_regular_file(target)) {
    return absl::InvalidArgumentError("--output names something that is not a regular file");
  }
  const fs::path directory = fs::path(path).parent_path();
  if (!directory.empty() && !fs::is_directory(directory, error)) {
    return absl::InvalidArgumentError("--output names a file in a directory that is not there");
  }
  return absl::OkStatus();
}

absl::Status WriteOutputFile(FileSystem* file_system, const std::string& path, ByteSpan data) {
  std::error_code error;
  fs::path target = fs::canonical(path, error);
  if (error) target = path;
  const absl::Status status = ReplaceWhole(file_system, target, data);
  if (status.ok()) return status;
  return absl::FailedPreconditionError(
      absl::StrCat("the output file cannot be written: ", status.message()));
}

}  // namespace mayfly::cli
