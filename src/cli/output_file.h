// An OutputFile takes a payload and is then either there as a whole and durable, or not at all.
//
// Writes a temporary neighbour, syncs it, renames it over the path and syncs the directory. A link
// is followed, not replaced. Every error is FAILED_PRECONDITION: the path is as it was then, and the
// neighbour is gone; only if syncing the directory fails does the path have the new content.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"

#include "base/file_system.h"
#include "mayfly/payload_io.h"

namespace mayfly::cli {

// Before anything is claimed for it: INVALID_ARGUMENT when `path` names something that must not be
// replaced, such as a directory or a device, or its directory is not there.
absl::Status CheckOutputPath(const std::string& path);

class OutputFile : public client::PayloadSink {
 public:
  enum class DirectorySync {
    kNow,
    kByCaller,  // who writes many files syncs their directory once
  };

  OutputFile(FileSystem* file_system, const std::string& path,
             DirectorySync directory_sync = DirectorySync::kNow);
  // Removes the neighbour, unless it has become the file.
  ~OutputFile() override;
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // From offset 0 on it begins anew.
  absl::Status WriteAt(uint64_t offset, absl::string_view data) override;
  absl::Status Finish(uint64_t size) override;

 private:
  absl::Status Begin();
  absl::Status Write(uint64_t offset, absl::string_view data);
  absl::Status Replace();

  FileSystem* const file_system_;
  const std::string path_;  // of the file itself, where that was a link
  const std::string directory_;
  const std::string neighbour_;
  const DirectorySync directory_sync_;
  std::unique_ptr<File> file_;  // the neighbour, once there is something to write
};

}  // namespace mayfly::cli
