#include "storage/memory/memory_file_system.h"

#include <algorithm>
#include <utility>

namespace mayfly {

class MemoryFileSystem::OpenFile final : public File {
 public:
  explicit OpenFile(std::shared_ptr<Content> content) : content_(std::move(content)) {}

  absl::Status ReadAt(uint64_t offset, MutableByteSpan out) override {
    MutexLock lock(&content_->mutex);
    const std::string& bytes = content_->bytes;
    if (offset > bytes.size() || bytes.size() - offset < out.size()) {
      return absl::OutOfRangeError("read past the end of the file");
    }
    std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(offset), out.size(), out.begin());
    return absl::OkStatus();
  }
  absl::Status WriteAt(uint64_t offset, ByteSpan data) override {
    MutexLock lock(&content_->mutex);
    std::string& bytes = content_->bytes;
    bytes.resize(std::max<size_t>(bytes.size(), offset + data.size()));
    std::copy(data.begin(), data.end(), bytes.begin() + static_cast<ptrdiff_t>(offset));
    return absl::OkStatus();
  }
  absl::Status Sync() override { return absl::OkStatus(); }
  absl::StatusOr<uint64_t> Size() override {
    MutexLock lock(&content_->mutex);
    return content_->bytes.size();
  }
  absl::StatusOr<ByteSpan> Map(uint64_t) override {
    return absl::UnavailableError("a file in memory is not mapped");
  }

 private:
  const std::shared_ptr<Content> content_;
};

absl::StatusOr<std::unique_ptr<File>> MemoryFileSystem::Open(const std::string& path, bool create) {
  MutexLock lock(&mutex_);
  std::shared_ptr<Content>& content = files_[path];
  if (content == nullptr && !create) {
    files_.erase(path);
    return absl::NotFoundError("no such file");
  }
  if (content == nullptr) content = std::make_shared<Content>();
  return std::make_unique<OpenFile>(content);
}

absl::Status MemoryFileSystem::Rename(const std::string& from, const std::string& to) {
  MutexLock lock(&mutex_);
  const auto found = files_.find(from);
  if (found == files_.end()) return absl::NotFoundError("no such file");
  files_[to] = found->second;
  files_.erase(from);
  return absl::OkStatus();
}

absl::Status MemoryFileSystem::Remove(const std::string& path) {
  MutexLock lock(&mutex_);
  return files_.erase(path) > 0 ? absl::OkStatus() : absl::NotFoundError("no such file");
}

bool MemoryFileSystem::Exists(const std::string& path) {
  MutexLock lock(&mutex_);
  return files_.contains(path);
}

}  // namespace mayfly
