#include "support/fault_rocksdb.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

namespace mayfly {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

constexpr size_t kSectorBytes = 512;

IOStatus InjectedFault() { return IOStatus::IOError("injected fault"); }

std::string DirectoryOf(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

// Of RocksDB's manifest, whose damaged tail RocksDB refuses.
bool IsManifest(const std::string& path) {
  return std::filesystem::path(path).filename().string().rfind("MANIFEST-", 0) == 0;
}

// Overwrites whole sectors from a random one in [first, end) on.
void Spoil(const std::string& path, uint64_t first, uint64_t end, std::mt19937_64* random) {
  if (first >= end) return;
  const uint64_t sector = (first + (*random)() % (end - first)) / kSectorBytes * kSectorBytes;
  const uint64_t from = std::max(first, sector);
  const uint64_t size = std::min<uint64_t>(kSectorBytes, end - from);
  // A page that never arrived reads as zeros; one that arrived in part, as anything.
  std::string bytes(size, '\0');
  if ((*random)() % 2 == 0) {
    for (char& byte : bytes) byte = static_cast<char>((*random)());
  }
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(from));
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

class FaultRocksFileSystem::FaultFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultFile(std::unique_ptr<rocksdb::FSWritableFile> file, FaultPlan* plan,
            std::shared_ptr<Extent> extent)
      : FSWritableFileOwnerWrapper(std::move(file)), plan_(plan), extent_(std::move(extent)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    if (!plan_->ShouldFail()) return Write(data, options, debug);
    Write(Slice(data.data(), data.size() / 2), options, debug).PermitUncheckedError();
    return InjectedFault();
  }
  IOStatus Append(const Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& /*verification*/,
                  IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    uint64_t covered = 0;
    {
      MutexLock lock(&extent_->mutex);
      covered = extent_->written;
    }
    const bool fails = plan_->ShouldFail();
    const IOStatus status =
        fails ? InjectedFault() : FSWritableFileOwnerWrapper::Sync(options, debug);
    MutexLock lock(&extent_->mutex);
    extent_->sync_failed |= !status.ok() && !plan_->is_dead();
    if (!extent_->sync_failed) extent_->synced = std::max(extent_->synced, covered);
    return status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return Sync(options, debug);
  }

 private:
  IOStatus Write(const Slice& data, const IOOptions& options, IODebugContext* debug) {
    const IOStatus status = FSWritableFileOwnerWrapper::Append(data, options, debug);
    MutexLock lock(&extent_->mutex);
    if (status.ok()) extent_->written += data.size();
    return status;
  }

  FaultPlan* const plan_;
  const std::shared_ptr<Extent> extent_;
};

class FaultRocksFileSystem::FaultDirectory : public rocksdb::FSDirectoryWrapper {
 public:
  FaultDirectory(std::unique_ptr<rocksdb::FSDirectory> directory, std::string path,
                 FaultRocksFileSystem* files)
      : FSDirectoryWrapper(std::move(directory)), path_(std::move(path)), files_(files) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return FsyncWithDirOptions(options, debug, rocksdb::DirFsyncOptions());
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions& /*reason*/) override {
    if (files_->plan_->ShouldFail()) return InjectedFault();
    const IOStatus status = FSDirectoryWrapper::Fsync(options, debug);
    if (status.ok()) files_->DirectorySynced(path_);
    return status;
  }

 private:
  const std::string path_;
  FaultRocksFileSystem* const files_;
};

FaultRocksFileSystem::FaultRocksFileSystem(FaultPlan* plan, std::string scratch_directory)
    : FileSystemWrapper(rocksdb::FileSystem::Default()),
      plan_(plan),
      scratch_directory_(std::move(scratch_directory)) {}

IOStatus FaultRocksFileSystem::NewWritableFile(const std::string& path,
                                               const rocksdb::FileOptions& options,
                                               std::unique_ptr<rocksdb::FSWritableFile>* file,
                                               IODebugContext* debug) {
  if (plan_->ShouldFail()) return InjectedFault();
  MutexLock lock(&mutex_);
  Change change{.path = path};
  SetAside(path, &change);
  const IOStatus status = target()->NewWritableFile(path, options, file, debug);
  if (!status.ok()) return status;
  changes_.push_back(std::move(change));
  auto extent = std::make_shared<Extent>();
  extents_[path] = extent;
  *file = std::make_unique<FaultFile>(std::move(*file), plan_, std::move(extent));
  return status;
}

IOStatus FaultRocksFileSystem::ReopenWritableFile(
    const std::string& /*path*/, const rocksdb::FileOptions& /*options*/,
    std::unique_ptr<rocksdb::FSWritableFile>* /*file*/, IODebugContext* /*debug*/) {
  return IOStatus::NotSupported("reopening is not simulated");
}

IOStatus FaultRocksFileSystem::NewDirectory(const std::string& path, const IOOptions& options,
                                            std::unique_ptr<rocksdb::FSDirectory>* directory,
                                            IODebugContext* debug) {
  const IOStatus status = target()->NewDirectory(path, options, directory, debug);
  if (!status.ok()) return status;
  *directory = std::make_unique<FaultDirectory>(std::move(*directory), path, this);
  return status;
}

IOStatus FaultRocksFileSystem::DeleteFile(const std::string& path, const IOOptions& options,
                                          IODebugContext* debug) {
  if (plan_->ShouldFail()) return InjectedFault();
  const IOStatus exists = target()->FileExists(path, options, debug);
  if (!exists.ok()) return exists;
  MutexLock lock(&mutex_);
  Change change{.path = path, .is_removal = true};
  SetAside(path, &change);
  changes_.push_back(std::move(change));
  return IOStatus::OK();
}

IOStatus FaultRocksFileSystem::RenameFile(const std::string& from, const std::string& to,
                                          const IOOptions& options, IODebugContext* debug) {
  if (plan_->ShouldFail()) return InjectedFault();
  MutexLock lock(&mutex_);
  Change change{.path = to, .from = from};
  SetAside(to, &change);
  const IOStatus status = target()->RenameFile(from, to, options, debug);
  if (!status.ok()) return status;
  changes_.push_back(std::move(change));
  const auto extent = extents_.find(from);
  if (extent != extents_.end()) {
    extents_[to] = extent->second;
    extents_.erase(extent);
  }
  return status;
}

void FaultRocksFileSystem::SetAside(const std::string& path, Change* change) {
  if (!std::filesystem::exists(path)) return;
  change->replaced = scratch_directory_ + "/" + std::to_string(++set_aside_);
  Move(path, change->replaced);
}

void FaultRocksFileSystem::Move(const std::string& from, const std::string& to) {
  std::filesystem::rename(from, to);
  const auto extent = extents_.find(from);
  if (extent == extents_.end()) return;
  extents_[to] = extent->second;
  extents_.erase(extent);
}

void FaultRocksFileSystem::Forget(const std::string& path) {
  std::filesystem::remove(path);
  extents_.erase(path);
}

void FaultRocksFileSystem::DirectorySynced(const std::string& directory) {
  MutexLock lock(&mutex_);
  std::vector<Change> others;
  for (Change& change : changes_) {
    if (DirectoryOf(change.path) != DirectoryOf(directory + "/x")) {
      others.push_back(std::move(change));
    } else if (!change.replaced.empty()) {
      Forget(change.replaced);
    }
  }
  changes_ = std::move(others);
}

void FaultRocksFileSystem::Undo(const Change& change) {
  if (!change.from.empty()) {
    Move(change.path, change.from);
  } else if (!change.is_removal) {
    Forget(change.path);
  }
  if (!change.replaced.empty()) Move(change.replaced, change.path);
}

void FaultRocksFileSystem::DropUnsynced(std::mt19937_64* random) {
  MutexLock lock(&mutex_);
  size_t kept = (*random)() % (changes_.size() + 1);
  for (; changes_.size() > kept; changes_.pop_back()) Undo(changes_.back());
  for (const Change& change : changes_) {
    if (!change.replaced.empty()) Forget(change.replaced);
  }
  changes_.clear();
  for (const auto& [path, extent] : extents_) {
    MutexLock extent_lock(&extent->mutex);
    if (!std::filesystem::exists(path) || extent->synced >= extent->written) continue;
    const uint64_t unsynced = extent->written - extent->synced;
    const uint64_t size = extent->synced + (*random)() % (unsynced + 1);
    std::filesystem::resize_file(path, size);
    if ((*random)() % 2 == 0 && !IsManifest(path)) Spoil(path, extent->synced, size, random);
  }
  extents_.clear();
}

}  // namespace mayfly
