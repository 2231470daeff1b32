// The file system interface of the key files. Tests use it to fail the k-th write, sync or rename,
// or to drop unsynced data.
//
// Every error is UNAVAILABLE or NOT_FOUND with errno's text, the operation, and the last two parts of
// the path, such as keys/slots. If no descriptor is free, an operation that needs one waits up to 5 s
// before it fails. A failed Sync is final: the kernel may have dropped the dirty pages, so the caller
// must not sync again and trust the result.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/bytes.h"

namespace mayfly {

// An open file that is written in place. As thread-safe as pread and pwrite.
class File {
 public:
  virtual ~File() = default;
  // Fills `out` completely or fails; OUT_OF_RANGE past the end.
  virtual absl::Status ReadAt(uint64_t offset, MutableByteSpan out) = 0;
  virtual absl::Status WriteAt(uint64_t offset, ByteSpan data) = 0;
  virtual absl::Status Sync() = 0;  // fdatasync
  virtual absl::StatusOr<uint64_t> Size() = 0;
  // A shared read-only mapping of the first `size` bytes, valid while this object lives. A later
  // call with a larger size leaves earlier mappings valid.
  virtual absl::StatusOr<ByteSpan> Map(uint64_t size) = 0;

  // For files that are appended to and give room back. A file system need not have them.

  // Begins to write what is dirty in the range, without waiting for it. No promise.
  virtual void StartWriteback(uint64_t offset, uint64_t size);
  // Gives the room of the range back; it reads as zeros from then on. UNIMPLEMENTED when the file
  // system cannot.
  virtual absl::Status PunchHole(uint64_t offset, uint64_t size);
  virtual absl::Status Truncate(uint64_t size);
  // The bytes that the file takes of the disk: less than its size when it has holes.
  virtual absl::StatusOr<uint64_t> AllocatedBytes();
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  // Opens for reading and writing. With `create`, creates a missing file with mode 0600.
  virtual absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, bool create) = 0;
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Remove(const std::string& path) = 0;
  virtual absl::Status SyncDirectory(const std::string& path) = 0;
  virtual bool Exists(const std::string& path) = 0;
};

// The real file system. It is never destroyed.
FileSystem* PosixFileSystem();

// Replaces the file at `directory`/`name` atomically: writes a temporary file next to it, syncs,
// renames, and syncs the directory.
absl::Status ReplaceFile(FileSystem* file_system, const std::string& directory,
                         const std::string& name, ByteSpan content);

// Whether the operation failed for lack of a descriptor and thus changed nothing, so that it may be
// retried.
bool WroteNothing(const absl::Status& status);

// Whether the operation failed for lack of room on the disk, or of quota.
bool IsOutOfSpace(const absl::Status& status);

// The whole content of a file of at most `bytes_max` bytes.
absl::StatusOr<std::string> ReadFile(FileSystem* file_system, const std::string& path,
                                     uint64_t bytes_max);

}  // namespace mayfly
