#include "cli/output_file.h"

#include <filesystem>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/bytes.h"
#include "base/error.h"

namespace mayfly::cli {
namespace {

namespace fs = std::filesystem;

// The process id distinguishes concurrent retrievals into one directory.
std::string NeighbourOf(const fs::path& path) {
  return (fs::path(DirectoryOf(path.string())) /
          absl::StrCat(".", path.filename().string(), ".", getpid(), ".mayfly"))
      .string();
}

bool IsUnder(const fs::path& path, absl::string_view directory) {
  return absl::StartsWith(path.string(), absl::StrCat(directory, "/"));
}

// As the kernel has it.
constexpr int kLinksMax = 40;

// /dev/stdout is a link to the file that the shell has opened, which others may have open too:
// it must not be replaced by another one of its name.
bool LeadsToDevice(const std::string& path) {
  fs::path at = path;
  for (int i = 0; i < kLinksMax; ++i) {
    std::error_code error;
    const fs::path directory = fs::canonical(DirectoryOf(at.string()), error);
    if (error) return false;
    at = directory / at.filename();
    if (IsUnder(at, "/proc") || (IsUnder(at, "/dev") && !IsUnder(at, "/dev/shm"))) return true;
    const fs::path target = fs::read_symlink(at, error);
    if (error) return false;  // no link
    at = directory / target;
  }
  return false;
}

}  // namespace

std::string FollowLinks(const std::string& path) {
  std::error_code error;
  const fs::path target = fs::canonical(path, error);
  return error ? path : target.string();
}

std::string DirectoryOf(const std::string& path) {
  const fs::path directory = fs::path(path).parent_path();
  return directory.empty() ? "." : directory.string();
}

absl::Status OutputFileError(const absl::Status& status) {
  if (status.ok()) return status;
  return absl::FailedPreconditionError(
      absl::StrCat("the output file cannot be written: ", status.message()));
}

absl::Status CheckOutputPath(const std::string& option, const std::string& path) {
  if (LeadsToDevice(path)) {
    return absl::InvalidArgumentError(
        absl::StrCat(option, " ", path, " leads to /dev or /proc, where no file can be replaced",
                     option == "--output" ? "; leave --output out to write to stdout" : ""));
  }
  std::error_code error;
  const fs::file_status target = fs::status(path, error);
  if (fs::exists(target) && !fs::is_regular_file(target)) {
    return absl::FailedPreconditionError(absl::StrCat(option, " ", path, " is not a regular file"));
  }
  const fs::path directory = fs::path(path).parent_path();
  if (!directory.empty() && !fs::is_directory(directory, error)) {
    return absl::FailedPreconditionError(
        absl::StrCat(option, " ", path, " is in a directory that does not exist"));
  }
  return absl::OkStatus();
}

OutputFile::OutputFile(FileSystem* file_system, const std::string& path,
                       DirectorySync directory_sync)
    : file_system_(file_system),
      path_(FollowLinks(path)),
      directory_(DirectoryOf(path_)),
      neighbour_(NeighbourOf(path_)),
      directory_sync_(directory_sync) {}

OutputFile::~OutputFile() {
  if (file_ != nullptr) file_system_->Remove(neighbour_).IgnoreError();
}

absl::Status OutputFile::CheckCreatable() {
  RETURN_IF_ERROR(OutputFileError(Begin()));
  file_.reset();
  return OutputFileError(file_system_->Remove(neighbour_));
}

absl::Status OutputFile::WriteAt(uint64_t offset, absl::string_view data) {
  return OutputFileError(Write(offset, data));
}

absl::Status OutputFile::Finish(uint64_t size) {
  // An empty payload has no first piece that starts the file.
  const absl::Status status = size == 0 ? Begin() : absl::OkStatus();
  return OutputFileError(status.ok() ? Replace() : status);
}

absl::Status OutputFile::Begin() {
  file_.reset();
  // A file left by an earlier process with the same id, or by an attempt that was replaced. If it
  // were longer, its end would remain after a shorter payload.
  if (file_system_->Exists(neighbour_)) RETURN_IF_ERROR(file_system_->Remove(neighbour_));
  absl::StatusOr<std::unique_ptr<File>> file = file_system_->Open(neighbour_, /*create=*/true);
  RETURN_IF_ERROR(file.status());
  file_ = *std::move(file);
  return absl::OkStatus();
}

absl::Status OutputFile::Write(uint64_t offset, absl::string_view data) {
  if (offset == 0 || file_ == nullptr) RETURN_IF_ERROR(Begin());
  return file_->WriteAt(offset, AsBytes(data));
}

absl::Status OutputFile::Replace() {
  RETURN_IF_ERROR(file_->Sync());
  RETURN_IF_ERROR(file_system_->Rename(neighbour_, path_));
  file_.reset();
  if (directory_sync_ == DirectorySync::kByCaller) return absl::OkStatus();
  return file_system_->SyncDirectory(directory_);
}

}  // namespace mayfly::cli
