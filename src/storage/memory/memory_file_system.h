// A file system in memory, for key files. What is written is durable at once: how key files come
// through crashes is tested on real ones. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/file_system.h"
#include "base/mutex.h"

namespace mayfly {

class MemoryFileSystem final : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, bool create) override
      EXCLUDES_LOCK(mutex_);
  absl::Status Rename(const std::string& from, const std::string& to) override
      EXCLUDES_LOCK(mutex_);
  absl::Status Remove(const std::string& path) override EXCLUDES_LOCK(mutex_);
  absl::Status SyncDirectory(const std::string&) override { return absl::OkStatus(); }
  bool Exists(const std::string& path) override EXCLUDES_LOCK(mutex_);

 private:
  class OpenFile;
  struct Content {
    Mutex mutex;
    std::string bytes GUARDED_BY(mutex);
  };

  Mutex mutex_;
  // An open file keeps its content, as a removed file does.
  std::map<std::string, std::shared_ptr<Content>> files_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
