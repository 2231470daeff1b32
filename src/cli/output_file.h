// An OutputFile writes a payload to a file atomically and durably.
//
// It writes a temporary file in the same directory, syncs it, renames it over the path and syncs
// the directory. It follows a link instead of replacing it. Every error is FAILED_PRECONDITION.
// Then the path is unchanged and the temporary file is removed; only if syncing the directory fails
// does the path have the new content.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"

#include "base/file_system.h"
#include "mayfly/payload_io.h"

namespace mayfly::cli {

// Call before claiming: FAILED_PRECONDITION if `path` must not be replaced, such as a directory, or
// its directory does not exist. INVALID_ARGUMENT if it leads to /dev or /proc. `option` is that of
// the path.
absl::Status CheckOutputPath(const std::string& option, const std::string& path);

enum class DirectorySync {
  kNow,
  kByCaller,  // a caller that writes many files syncs their directory once
};

// The path itself, or what it is a link to.
std::string FollowLinks(const std::string& path);
std::string DirectoryOf(const std::string& path);
// FAILED_PRECONDITION for an error of the disk.
absl::Status OutputFileError(const absl::Status& status);

class OutputFile : public client::PayloadSink {
 public:
  OutputFile(FileSystem* file_system, const std::string& path,
             DirectorySync directory_sync = DirectorySync::kNow);
  // Removes the temporary file unless it was renamed.
  ~OutputFile() override;
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Creates the temporary file and removes it.
  absl::Status CheckCreatable();

  // A write at offset 0 starts the file again.
  absl::Status WriteAt(uint64_t offset, absl::string_view data) override;
  absl::Status Finish(uint64_t size) override;

 private:
  absl::Status Begin();
  absl::Status Write(uint64_t offset, absl::string_view data);
  absl::Status Replace();

  FileSystem* const file_system_;
  const std::string path_;  // of the target, if that was a link
  const std::string directory_;
  const std::string neighbour_;
  const DirectorySync directory_sync_;
  std::unique_ptr<File> file_;  // the temporary file, from the first write on
};

}  // namespace mayfly::cli
