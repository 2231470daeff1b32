#include "base/file_system.h"

#include <cstring>
#include <errno.h>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/mutex.h"

namespace mayfly {
namespace {

// The last two parts of a path, such as keys/slots: where the data directory is, is its operator's.
std::string NameOf(const std::string& path) {
  const std::filesystem::path whole(path);
  return (whole.parent_path().filename() / whole.filename()).string();
}

constexpr char kWroteNothing[] = "mayfly/wrote_nothing";
constexpr char kOutOfSpace[] = "mayfly/out_of_space";

absl::Status ErrnoError(absl::string_view operation, absl::string_view name, int error) {
  const std::string text =
      absl::StrCat(operation, " of ", name, " failed: ", strerrordesc_np(error));
  absl::Status status = error == ENOENT ? absl::NotFoundError(text) : absl::UnavailableError(text);
  if (error == ENOSPC || error == EDQUOT) status.SetPayload(kOutOfSpace, absl::Cord());
  return status;
}

// Descriptors become free when connections or files are closed.
constexpr absl::Duration kDescriptorTimeout = absl::Seconds(5);
constexpr absl::Duration kDescriptorPause = absl::Milliseconds(20);

// open(2), retried while the process or the system has no free descriptor. Such a failure has
// changed nothing.
int OpenPatiently(const std::string& path, int flags) {
  for (absl::Duration waited; true; waited += kDescriptorPause) {
    const int fd = open(path.c_str(), flags | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EMFILE && errno != ENFILE) || waited >= kDescriptorTimeout) return fd;
    absl::SleepFor(kDescriptorPause);
  }
}

class PosixFile : public File {
 public:
  PosixFile(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  ~PosixFile() override {
    for (const auto& [address, size] : mappings_) munmap(address, size);
    close(fd_);
  }

  absl::Status ReadAt(uint64_t offset, MutableByteSpan out) override {
    while (!out.empty()) {
      const ssize_t n = pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError("read", name_, errno);
      if (n == 0) return absl::OutOfRangeError(absl::StrCat("read past the end of ", name_));
      out.remove_prefix(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
    return absl::OkStatus();
  }

  absl::Status WriteAt(uint64_t offset, ByteSpan data) override {
    while (!data.empty()) {
      const ssize_t n = pwrite(fd_, data.data(), data.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError("write", name_, errno);
      data.remove_prefix(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    return fdatasync(fd_) == 0 ? absl::OkStatus() : ErrnoError("sync", name_, errno);
  }

  absl::StatusOr<uint64_t> Size() override {
    struct stat info;
    if (fstat(fd_, &info) != 0) return ErrnoError("stat", name_, errno);
    return static_cast<uint64_t>(info.st_size);
  }

  absl::StatusOr<ByteSpan> Map(uint64_t size) override {
    void* address = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd_, 0);
    if (address == MAP_FAILED) return ErrnoError("mmap", name_, errno);
    MutexLock lock(&mutex_);
    mappings_.emplace_back(address, size);
    return ByteSpan(static_cast<const uint8_t*>(address), size);
  }

  void StartWriteback(uint64_t offset, uint64_t size) override {
    (void)sync_file_range(fd_, static_cast<off_t>(offset), static_cast<off_t>(size),
                          SYNC_FILE_RANGE_WRITE);
  }

  absl::Status PunchHole(uint64_t offset, uint64_t size) override {
    while (fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                     static_cast<off_t>(size)) != 0) {
      if (errno == EINTR) continue;
      const int error = errno;
      absl::Status status = ErrnoError("punching a hole", name_, error);
      if (error != EOPNOTSUPP && error != ENOSYS) return status;
      return absl::UnimplementedError(status.message());
    }
    return absl::OkStatus();
  }

  absl::Status Truncate(uint64_t size) override {
    if (ftruncate(fd_, static_cast<off_t>(size)) == 0) return absl::OkStatus();
    return ErrnoError("truncation", name_, errno);
  }

  absl::StatusOr<uint64_t> AllocatedBytes() override {
    // fstat counts in units of 512 bytes, whatever a block is.
    constexpr uint64_t kUnitBytes = 512;
    struct stat info;
    if (fstat(fd_, &info) != 0) return ErrnoError("stat", name_, errno);
    return static_cast<uint64_t>(info.st_blocks) * kUnitBytes;
  }

 private:
  const int fd_;
  const std::string name_;
  Mutex mutex_;
  std::vector<std::pair<void*, size_t>> mappings_ GUARDED_BY(mutex_);
};

class PosixFiles : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, bool create) override {
    const int fd = OpenPatiently(path, O_RDWR | (create ? O_CREAT : 0));
    if (fd < 0) {
      const bool no_descriptor = errno == EMFILE || errno == ENFILE;
      absl::Status status = ErrnoError("open", NameOf(path), errno);
      if (no_descriptor) status.SetPayload(kWroteNothing, absl::Cord());
      return status;
    }
    return std::make_unique<PosixFile>(fd, NameOf(path));
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
    return ErrnoError("rename", NameOf(to), errno);
  }
  absl::Status Remove(const std::string& path) override {
    if (unlink(path.c_str()) == 0) return absl::OkStatus();
    return ErrnoError("removal", NameOf(path), errno);
  }
  absl::Status SyncDirectory(const std::string& path) override {
    const int fd = OpenPatiently(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) return ErrnoError("open", NameOf(path), errno);
    const int result = fsync(fd);
    const int error = errno;
    close(fd);
    return result == 0 ? absl::OkStatus() : ErrnoError("sync", NameOf(path), error);
  }
  bool Exists(const std::string& path) override { return access(path.c_str(), F_OK) == 0; }
};

}  // namespace

void File::StartWriteback(uint64_t, uint64_t) {}

absl::Status File::PunchHole(uint64_t, uint64_t) {
  return absl::UnimplementedError("this file system punches no holes");
}

absl::Status File::Truncate(uint64_t) {
  return absl::UnimplementedError("this file system does not truncate");
}

absl::StatusOr<uint64_t> File::AllocatedBytes() { return Size(); }

FileSystem* PosixFileSystem() {
  static PosixFiles* const files = new PosixFiles;
  return files;
}

absl::Status ReplaceFile(FileSystem* file_system, const std::string& directory,
                         const std::string& name, ByteSpan content) {
  const std::string path = directory + "/" + name;
  const std::string temporary = path + ".new";
  // A file left behind by a crash may be longer than the new content.
  if (file_system->Exists(temporary)) RETURN_IF_ERROR(file_system->Remove(temporary));
  {
    auto file = file_system->Open(temporary, /*create=*/true);
    RETURN_IF_ERROR(file.status());
    RETURN_IF_ERROR((*file)->WriteAt(0, content));
    RETURN_IF_ERROR((*file)->Sync());
  }
  RETURN_IF_ERROR(file_system->Rename(temporary, path));
  return file_system->SyncDirectory(directory);
}

bool WroteNothing(const absl::Status& status) {
  return status.GetPayload(kWroteNothing).has_value();
}

bool IsOutOfSpace(const absl::Status& status) { return status.GetPayload(kOutOfSpace).has_value(); }

absl::StatusOr<std::string> ReadFile(FileSystem* file_system, const std::string& path,
                                     uint64_t bytes_max) {
  auto file = file_system->Open(path, /*create=*/false);
  RETURN_IF_ERROR(file.status());
  auto size = (*file)->Size();
  RETURN_IF_ERROR(size.status());
  if (*size > bytes_max) {
    return absl::OutOfRangeError(
        absl::StrCat("file is ", *size, " bytes, limit is ", bytes_max, " bytes"));
  }
  std::string content(*size, '\0');
  RETURN_IF_ERROR((*file)->ReadAt(
      0, MutableByteSpan(reinterpret_cast<uint8_t*>(content.data()), content.size())));
  return content;
}

}  // namespace mayfly
