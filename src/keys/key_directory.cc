#include "keys/key_directory.h"

#include <errno.h>
#include <fstream>
#include <sstream>
#include <string.h>
#include <unistd.h>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "base/error.h"

namespace mayfly {
namespace {

struct UnsafeFileSystem {
  uint64_t magic;
  const char* name;
};

// statfs(2); those that Linux's magic.h does not name are from the file systems' own sources.
constexpr UnsafeFileSystem kUnsafe[] = {
    {BTRFS_SUPER_MAGIC, "btrfs"},
    {0x2fc12fc1, "zfs"},
    {0xca451a4e, "bcachefs"},
    {0xf2f52010, "f2fs"},
    {0x3434, "nilfs"},
    {NFS_SUPER_MAGIC, "nfs"},
    {SMB_SUPER_MAGIC, "smb"},
    {0xff534d42, "cifs"},
    {0xfe534d42, "smb2"},
    {FUSE_SUPER_MAGIC, "fuse"},
    {0x00c36400, "ceph"},
    {AFS_SUPER_MAGIC, "afs"},
    {CODA_SUPER_MAGIC, "coda"},
    {V9FS_MAGIC, "9p"},
    {0x01161970, "gfs2"},
    {OCFS2_SUPER_MAGIC, "ocfs2"},
    {0x0bd00bd0, "lustre"},
    {TMPFS_MAGIC, "tmpfs, which may be swapped out"},
};

constexpr char kErasesNothing[] = "where overwriting does not erase";
// RocksDB does not open what it finds then.
constexpr char kShowsOldBytes[] = "where files may hold other files' old bytes after a loss of power";

absl::Status Unsafe(absl::string_view directory, absl::string_view what,
                    absl::string_view why = kErasesNothing) {
  return absl::FailedPreconditionError(
      absl::StrCat(directory, " is on ", what, ", ", why,
                   ": choose a storage.data_dir on ext4 or xfs, or set "
                   "storage.allow_unsafe_filesystem = true and do without that promise"));
}

std::string ReadWhole(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

absl::Status CheckKeyDirectory(const std::string& directory, bool allow_unsafe) {
  struct stat info;
  if (stat(directory.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(directory, " is not a directory that can be reached"));
  }
  if ((info.st_mode & 077) != 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s has mode %04o, limit is 0700: run chmod 700 %s", directory,
                        info.st_mode & 07777, directory));
  }
  if (info.st_uid != geteuid()) {
    return absl::FailedPreconditionError(
        absl::StrCat(directory, " belongs to user ", info.st_uid, ", expected user ", geteuid(),
                     ", who runs the server: run the server as its owner, or chown -R ", geteuid(),
                     " storage.data_dir"));
  }
  return allow_unsafe ? absl::OkStatus() : CheckFileSystemOf(directory);
}

absl::Status CheckFileSystemOf(const std::string& directory) {
  struct stat info;
  struct statfs file_system;
  if (stat(directory.c_str(), &info) != 0 || statfs(directory.c_str(), &file_system) != 0) {
    return absl::UnavailableError(absl::StrCat("the file system of ", directory,
                                               " cannot be told: ", strerrordesc_np(errno)));
  }
  return CheckKeyFileSystem(
      directory, static_cast<uint64_t>(file_system.f_type) & UINT32_MAX,
      SuperOptionsOf(ReadWhole("/proc/self/mountinfo"), major(info.st_dev), minor(info.st_dev)));
}

absl::Status CheckKeyFileSystem(absl::string_view directory, uint64_t magic,
                                absl::string_view super_options) {
  for (const UnsafeFileSystem& unsafe : kUnsafe) {
    if (magic == unsafe.magic) return Unsafe(directory, unsafe.name);
  }
  if (magic != EXT4_SUPER_MAGIC) return absl::OkStatus();
  for (absl::string_view option : absl::StrSplit(super_options, ',')) {
    if (option == "data=journal") return Unsafe(directory, "ext4 with data=journal");
    if (option == "data=writeback") {
      return Unsafe(directory, "ext4 with data=writeback", kShowsOldBytes);
    }
  }
  return absl::OkStatus();
}

// A line: 36 35 98:0 /root /mount/point rw,noatime shared:1 - ext4 /dev/root rw,data=journal
std::string SuperOptionsOf(absl::string_view mountinfo, unsigned major_number,
                           unsigned minor_number) {
  const std::string device = absl::StrCat(major_number, ":", minor_number);
  for (absl::string_view line : absl::StrSplit(mountinfo, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
    if (fields.size() >= 10 && fields[2] == device) return std::string(fields.back());
  }
  return "";
}

}  // namespace mayfly
