#include "storage/local/ballast.h"

#include <algorithm>
#include <fcntl.h>
#include <unistd.h>

#include "absl/cleanup/cleanup.h"
#include <sys/stat.h>

namespace mayfly {
namespace {

constexpr uint64_t kStatBlockBytes = 512;

}  // namespace

Ballast::Ballast(const std::string& directory, uint64_t size_bytes)
    : path_(directory + "/ballast"), size_bytes_(size_bytes) {
  struct stat info {};
  if (stat(path_.c_str(), &info) != 0) return;
  // What is allocated, not the size: a copy of the directory may have made it sparse.
  held_bytes_ = std::min(size_bytes_, static_cast<uint64_t>(info.st_blocks) * kStatBlockBytes);
}

void Ballast::Make() {
  if (missing_bytes() == 0) return;
  const int fd = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return;
  const absl::Cleanup close_file = [fd] { close(fd); };
  // Not posix_fallocate, which writes zeros where the file system cannot allocate.
  if (fallocate(fd, 0, 0, static_cast<off_t>(size_bytes_)) == 0 && fsync(fd) == 0) {
    held_bytes_ = size_bytes_;
  } else {
    Release();
  }
}

void Ballast::Release() {
  // Truncated as well, in case somebody has it open.
  (void)truncate(path_.c_str(), 0);
  (void)unlink(path_.c_str());
  held_bytes_ = 0;
}

}  // namespace mayfly
