// The machine's files, but for what a test makes of some operations.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/file_system.h"

namespace mayfly {

class HookedFiles final : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, bool create) override {
    if (create && on_create) RETURN_IF_ERROR(on_create());
    auto file = PosixFileSystem()->Open(path, create);
    RETURN_IF_ERROR(file.status());
    return std::make_unique<Hooked>(this, path, *std::move(file));
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return PosixFileSystem()->Rename(from, to);
  }
  absl::Status Remove(const std::string& path) override { return PosixFileSystem()->Remove(path); }
  absl::Status SyncDirectory(const std::string& path) override {
    ++directory_syncs;
    return PosixFileSystem()->SyncDirectory(path);
  }
  bool Exists(const std::string& path) override { return PosixFileSystem()->Exists(path); }

  std::function<absl::Status()> on_create;
  std::function<absl::Status(uint64_t offset)> on_write;  // half of it is written if that fails
  std::function<absl::Status()> on_sync;
  std::function<absl::Status()> on_punch;
  std::atomic<int> segment_file_syncs = 0;
  std::atomic<int> directory_syncs = 0;
  std::atomic<int> punches = 0;

 private:
  class Hooked final : public File {
   public:
    Hooked(HookedFiles* files, const std::string& path, std::unique_ptr<File> file)
        : files_(*files), is_segments_(path.ends_with(".segments")), file_(std::move(file)) {}
    absl::Status ReadAt(uint64_t offset, MutableByteSpan out) override {
      return file_->ReadAt(offset, out);
    }
    absl::Status WriteAt(uint64_t offset, ByteSpan data) override {
      const absl::Status asked = files_.on_write ? files_.on_write(offset) : absl::OkStatus();
      if (!asked.ok()) data = data.first(data.size() / 2);
      RETURN_IF_ERROR(file_->WriteAt(offset, data));
      return asked;
    }
    absl::Status Sync() override {
      if (is_segments_) ++files_.segment_file_syncs;
      return files_.on_sync ? files_.on_sync() : file_->Sync();
    }
    absl::StatusOr<uint64_t> Size() override { return file_->Size(); }
    absl::StatusOr<ByteSpan> Map(uint64_t size) override { return file_->Map(size); }
    absl::Status PunchHole(uint64_t offset, uint64_t size) override {
      ++files_.punches;
      if (files_.on_punch) RETURN_IF_ERROR(files_.on_punch());
      return file_->PunchHole(offset, size);
    }
    absl::StatusOr<uint64_t> AllocatedBytes() override { return file_->AllocatedBytes(); }

   private:
    HookedFiles& files_;
    const bool is_segments_;
    const std::unique_ptr<File> file_;
  };
};

}  // namespace mayfly
