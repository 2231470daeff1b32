// The real file system, with a log of the operations that change the disk, one of which can be made
// to fail.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/file_system.h"

namespace mayfly {

// The process dies, as far as its files are concerned.
struct Crash {};

class RecordingFileSystem : public FileSystem {
 public:
  // `log` is called with "create", "write", "sync", "rename", "remove" and "sync directory".
  explicit RecordingFileSystem(std::function<void(const std::string&)> log)
      : log_(std::move(log)) {}

  // The operation of this number, from 1, fails; 0: none. Removals do not count.
  void FailOperation(int number) { fails_ = number; }
  // The operation of this number, from 1, throws Crash and does nothing; 0: none. Removals count.
  void CrashAtOperation(int number) { crashes_ = number; }
  // So does the removal of this number.
  void CrashAtRemoval(int number) { crashing_removal_ = number; }

  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, bool create) override {
    absl::Status status = Count("create");
    if (!status.ok()) return status;
    auto file = PosixFileSystem()->Open(path, create);
    if (!file.ok()) return file.status();
    return std::make_unique<RecordingFile>(this, *std::move(file));
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    const absl::Status status = Count("rename");
    return status.ok() ? PosixFileSystem()->Rename(from, to) : status;
  }
  absl::Status Remove(const std::string& path) override {
    CountForCrash();
    if (++removals_ == crashing_removal_) throw Crash();
    log_("remove");
    return PosixFileSystem()->Remove(path);
  }
  absl::Status SyncDirectory(const std::string& path) override {
    const absl::Status status = Count("sync directory");
    return status.ok() ? PosixFileSystem()->SyncDirectory(path) : status;
  }
  bool Exists(const std::string& path) override { return PosixFileSystem()->Exists(path); }

 private:
  class RecordingFile : public File {
   public:
    RecordingFile(RecordingFileSystem* files, std::unique_ptr<File> file)
        : files_(files), file_(std::move(file)) {}
    absl::Status ReadAt(uint64_t offset, MutableByteSpan out) override {
      return file_->ReadAt(offset, out);
    }
    absl::Status WriteAt(uint64_t offset, ByteSpan data) override {
      const absl::Status status = files_->Count("write");
      return status.ok() ? file_->WriteAt(offset, data) : status;
    }
    absl::Status Sync() override {
      const absl::Status status = files_->Count("sync");
      return status.ok() ? file_->Sync() : status;
    }
    absl::StatusOr<uint64_t> Size() override { return file_->Size(); }
    absl::StatusOr<ByteSpan> Map(uint64_t size) override { return file_->Map(size); }

   private:
    RecordingFileSystem* const files_;
    const std::unique_ptr<File> file_;
  };

  void CountForCrash() {
    if (++all_operations_ == crashes_) throw Crash();
  }
  absl::Status Count(const std::string& operation) {
    CountForCrash();
    log_(operation);
    return ++operations_ == fails_ ? absl::UnavailableError(operation + " failed: disk on fire")
                                   : absl::OkStatus();
  }

  const std::function<void(const std::string&)> log_;
  int operations_ = 0;
  int fails_ = 0;
  int all_operations_ = 0;
  int crashes_ = 0;
  int removals_ = 0;
  int crashing_removal_ = 0;
};

}  // namespace mayfly
