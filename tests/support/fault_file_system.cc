#include "support/fault_file_system.h"

#include <algorithm>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

#include "absl/strings/str_cat.h"
#include <sys/stat.h>

#include "base/check.h"
#include "base/error.h"

namespace mayfly {
namespace {

constexpr uint64_t kSectorBytes = 512;

std::string DirectoryOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

absl::Status Injected(absl::string_view operation) {
  return absl::UnavailableError(absl::StrCat(operation, " failed: injected fault"));
}

}  // namespace

// A file's content, and all contents that its disk may hold instead.
struct FaultFileSystem::Inode {
  explicit Inode(const std::string& path) : fd(open(path.c_str(), O_RDWR | O_CLOEXEC)) {
    Check(fd >= 0, "a file of the fault-injecting file system can be opened");
    synced_bytes = SizeNow();
  }
  ~Inode() { close(fd); }

  uint64_t SizeNow() const {
    struct stat info;
    Check(fstat(fd, &info) == 0, "its size can be told");
    return static_cast<uint64_t>(info.st_size);
  }

  // Empty beyond the end, where it reads as zeros.
  std::string ReadSector(uint64_t sector, uint64_t size) const {
    if (sector * kSectorBytes >= size) return "";
    std::string bytes(kSectorBytes, '\0');
    Check(pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(sector * kSectorBytes)) >= 0,
          "its sectors can be read");
    return bytes;
  }

  const int fd;
  uint64_t synced_bytes = 0;
  // The contents of sectors before each write since the last sync.
  std::map<uint64_t, std::vector<std::string>> unsynced;
  // A sync failed: what was unsynced then never becomes durable.
  bool sync_failed = false;
};

// The state that outlives the FaultFileSystem's calls and is shared by its files.
class FaultFileSystem::Disk {
 public:
  Disk(FaultPlan* plan_in, std::string scratch_in)
      : plan(plan_in), scratch(std::move(scratch_in)) {}

  // A directory's change that is not synced: a creation, or a move of `from` to `to`.
  struct Change {
    std::string from{};  // empty: `to` was created
    std::string to{};
    std::string displaced{};            // where the file is kept that was at `to`, if any was
    std::shared_ptr<Inode> replaced{};  // that file, or the one that was removed
  };

  std::shared_ptr<Inode> InodeAt(const std::string& path) REQUIRES_LOCK(mutex) {
    std::shared_ptr<Inode>& inode = inodes[path];
    if (inode == nullptr) inode = std::make_shared<Inode>(path);
    return inode;
  }

  // A second name for the file at `path`, in the scratch directory.
  std::string Keep(const std::string& path) REQUIRES_LOCK(mutex) {
    std::string kept = absl::StrCat(scratch, "/", ++kept_count);
    Check(link(path.c_str(), kept.c_str()) == 0, "a replaced file can be kept");
    return kept;
  }

  void Undo(const Change& change) REQUIRES_LOCK(mutex) {
    if (change.from.empty()) {
      unlink(change.to.c_str());
    } else if (DirectoryOf(change.to) != scratch) {
      Check(rename(change.to.c_str(), change.from.c_str()) == 0, "a rename can be undone");
    } else {
      Check(link(change.to.c_str(), change.from.c_str()) == 0, "a removal can be undone");
    }
    if (!change.displaced.empty()) {
      Check(link(change.displaced.c_str(), change.to.c_str()) == 0, "a replaced file can return");
    }
  }

  void Forget(const Change& change) {
    if (!change.displaced.empty()) unlink(change.displaced.c_str());
    if (DirectoryOf(change.to) == scratch) unlink(change.to.c_str());
  }

  FaultPlan* const plan;
  const std::string scratch;
  Mutex mutex;
  std::map<std::string, std::shared_ptr<Inode>> inodes GUARDED_BY(mutex);
  std::vector<Change> changes GUARDED_BY(mutex);
  uint64_t kept_count GUARDED_BY(mutex) = 0;
};

class FaultFileSystem::FaultFile : public File {
 public:
  FaultFile(Disk* disk, std::shared_ptr<Inode> inode, std::unique_ptr<File> real)
      : disk_(disk), inode_(std::move(inode)), real_(std::move(real)) {}

  absl::Status ReadAt(uint64_t offset, MutableByteSpan out) override {
    return real_->ReadAt(offset, out);
  }

  absl::Status WriteAt(uint64_t offset, ByteSpan data) override {
    MutexLock lock(&disk_->mutex);
    const bool fails = disk_->plan->ShouldFail();
    if (fails) {
      const uint64_t end = (offset + data.size() / 2) / kSectorBytes * kSectorBytes;
      data = data.first(end > offset ? end - offset : 0);
    }
    RememberSectors(offset, offset + data.size());
    RETURN_IF_ERROR(real_->WriteAt(offset, data));
    return fails ? Injected("write") : absl::OkStatus();
  }

  // Nothing is really synced: what is lost is decided by DropUnsynced, and tests need not wait.
  absl::Status Sync() override {
    MutexLock lock(&disk_->mutex);
    if (disk_->plan->ShouldFail()) {
      inode_->sync_failed |= !disk_->plan->is_dead();
      return Injected("sync");
    }
    if (inode_->sync_failed) return absl::OkStatus();
    inode_->unsynced.clear();
    inode_->synced_bytes = inode_->SizeNow();
    return absl::OkStatus();
  }

  // The holes of a range are punched or not after a loss of power, each sector by itself. It fails
  // only with a disk that has failed already: a thread of its own punches, at any time, and would take
  // the turn of the operations that a test counts.
  absl::Status PunchHole(uint64_t offset, uint64_t size) override {
    MutexLock lock(&disk_->mutex);
    if (disk_->plan->has_failed() || disk_->plan->is_dead()) return Injected("punching a hole");
    RememberSectors(offset, std::min(offset + size, inode_->SizeNow()));
    return real_->PunchHole(offset, size);
  }

  absl::Status Truncate(uint64_t size) override {
    MutexLock lock(&disk_->mutex);
    if (disk_->plan->ShouldFail()) return Injected("truncation");
    RememberSectors(size, inode_->SizeNow());
    return real_->Truncate(size);
  }

  absl::StatusOr<uint64_t> AllocatedBytes() override { return real_->AllocatedBytes(); }

  absl::StatusOr<uint64_t> Size() override { return real_->Size(); }
  absl::StatusOr<ByteSpan> Map(uint64_t size) override { return real_->Map(size); }

 private:
  void RememberSectors(uint64_t begin, uint64_t end) REQUIRES_LOCK(disk_->mutex) {
    const uint64_t size = inode_->SizeNow();
    for (uint64_t sector = begin / kSectorBytes; sector * kSectorBytes < end; ++sector) {
      inode_->unsynced[sector].push_back(inode_->ReadSector(sector, size));
    }
  }

  Disk* const disk_;
  const std::shared_ptr<Inode> inode_;
  const std::unique_ptr<File> real_;
};

FaultFileSystem::FaultFileSystem(FaultPlan* plan, std::string scratch_directory)
    : disk_(std::make_unique<Disk>(plan, std::move(scratch_directory))) {}

FaultFileSystem::~FaultFileSystem() = default;

absl::StatusOr<std::unique_ptr<File>> FaultFileSystem::Open(const std::string& path, bool create) {
  MutexLock lock(&disk_->mutex);
  const bool creates = create && !PosixFileSystem()->Exists(path);
  if (creates && disk_->plan->ShouldFail()) return Injected("create");
  auto real = PosixFileSystem()->Open(path, create);
  RETURN_IF_ERROR(real.status());
  if (creates) disk_->changes.push_back({.to = path});
  return std::make_unique<FaultFile>(disk_.get(), disk_->InodeAt(path), *std::move(real));
}

absl::Status FaultFileSystem::Rename(const std::string& from, const std::string& to) {
  MutexLock lock(&disk_->mutex);
  if (disk_->plan->ShouldFail()) return Injected("rename");
  Disk::Change change{.from = from, .to = to};
  std::shared_ptr<Inode> moved = disk_->InodeAt(from);
  if (PosixFileSystem()->Exists(to)) {
    change.replaced = disk_->InodeAt(to);
    change.displaced = disk_->Keep(to);
  }
  RETURN_IF_ERROR(PosixFileSystem()->Rename(from, to));
  disk_->inodes.erase(from);
  disk_->inodes[to] = std::move(moved);
  disk_->changes.push_back(std::move(change));
  return absl::OkStatus();
}

absl::Status FaultFileSystem::Remove(const std::string& path) {
  MutexLock lock(&disk_->mutex);
  if (disk_->plan->ShouldFail()) return Injected("remove");
  if (!PosixFileSystem()->Exists(path)) return PosixFileSystem()->Remove(path);
  Disk::Change change{.from = path, .replaced = disk_->InodeAt(path)};
  change.to = disk_->Keep(path);
  RETURN_IF_ERROR(PosixFileSystem()->Remove(path));
  disk_->inodes.erase(path);
  disk_->changes.push_back(std::move(change));
  return absl::OkStatus();
}

absl::Status FaultFileSystem::SyncDirectory(const std::string& path) {
  MutexLock lock(&disk_->mutex);
  if (disk_->plan->ShouldFail()) return Injected("sync directory");
  std::vector<Disk::Change> elsewhere;
  for (Disk::Change& change : disk_->changes) {
    const bool here = DirectoryOf(change.from.empty() ? change.to : change.from) == path;
    if (here) {
      disk_->Forget(change);
    } else {
      elsewhere.push_back(std::move(change));
    }
  }
  disk_->changes = std::move(elsewhere);
  return absl::OkStatus();
}

bool FaultFileSystem::Exists(const std::string& path) { return PosixFileSystem()->Exists(path); }

void FaultFileSystem::DropUnsynced(std::mt19937_64* random) {
  MutexLock lock(&disk_->mutex);
  const auto below = [random](uint64_t bound) { return (*random)() % bound; };

  // In the order of names and changes, so that a seed gives the same losses again.
  std::vector<std::shared_ptr<Inode>> inodes;
  for (const auto& [path, inode] : disk_->inodes) inodes.push_back(inode);
  for (const Disk::Change& change : disk_->changes) {
    if (change.replaced != nullptr) inodes.push_back(change.replaced);
  }
  for (const std::shared_ptr<Inode>& inode : inodes) {
    const uint64_t size = below(2) == 0 ? inode->SizeNow() : inode->synced_bytes;
    for (const auto& [sector, contents] : inode->unsynced) {
      const uint64_t choice = below(contents.size() + 1);
      if (choice == contents.size()) continue;
      std::string content = contents[choice];
      content.resize(kSectorBytes);
      Check(pwrite(inode->fd, content.data(), kSectorBytes,
                   static_cast<off_t>(sector * kSectorBytes)) == kSectorBytes,
            "a sector can be put back");
    }
    inode->unsynced.clear();
    Check(ftruncate(inode->fd, static_cast<off_t>(size)) == 0, "a size can be put back");
  }

  const uint64_t kept = below(disk_->changes.size() + 1);
  while (disk_->changes.size() > kept) {
    disk_->Undo(disk_->changes.back());
    disk_->Forget(disk_->changes.back());
    disk_->changes.pop_back();
  }
  for (const Disk::Change& change : disk_->changes) disk_->Forget(change);
  disk_->changes.clear();
  disk_->inodes.clear();
}

}  // namespace mayfly
