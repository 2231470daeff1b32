// The directory of a MapRetrieval: made, searched for what an earlier run has saved.
#include <errno.h>
#include <filesystem>
#include <string.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include <sys/stat.h>

#include "base/error.h"
#include "cli/kept_download.h"
#include "cli/map_retrieval.h"
#include "cli/output_file.h"

namespace mayfly::cli {
namespace {

namespace fs = std::filesystem;

absl::Status DirectoryError(const std::string& path, absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat("--dir ", path, " ", what));
}

}  // namespace

absl::Status MapRetrieval::PrepareDirectory() const {
  const std::string& path = line_.directory;
  if (mkdir(path.c_str(), 0700) == 0) {
    // Sync the parent directory too, or a power loss could remove the new directory with all files
    // in it.
    const fs::path parent = fs::absolute(path).lexically_normal().parent_path();
    return context_.file_system->SyncDirectory(parent.string());
  }
  if (errno != EEXIST) {
    return DirectoryError(path, absl::StrCat("cannot be created: ", strerrordesc_np(errno)));
  }
  std::error_code error;
  if (!fs::is_directory(path, error)) return DirectoryError(path, "is not a directory");
  if (access(path.c_str(), W_OK | X_OK) != 0) {
    return DirectoryError(path, absl::StrCat("cannot be written to: ", strerrordesc_np(errno)));
  }
  return absl::OkStatus();
}

absl::Status MapRetrieval::FindMissing(const std::vector<std::string>& call_ids) {
  for (const std::string& call_id : call_ids) {
    std::error_code error;
    const fs::file_status status = fs::status(PathOf(call_id), error);
    const bool is_broken_off = KeptDownload::IsKept(PathOf(call_id), call_id);
    if (is_broken_off) broken_off_.push_back(call_id);
    if (!fs::exists(status) || is_broken_off) {
      missing_.push_back(call_id);
    } else if (fs::is_regular_file(status)) {
      ++kept_count_;
    } else {
      return DirectoryError(line_.directory,
                            absl::StrCat("contains ", call_id, ", which is not a regular file"));
    }
  }
  return absl::OkStatus();
}

absl::Status MapRetrieval::CheckMissingFile() const {
  const std::string& path = line_.missing_file;
  if (path.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckOutputPath("--missing", path));
  const absl::Status status = OutputFile(context_.file_system, path).CheckCreatable();
  return Reworded(status, absl::StrCat("--missing ", path, ": ", status.message()));
}

}  // namespace mayfly::cli
