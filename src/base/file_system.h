// The file system as the key files see it, behind a seam through which tests make the k-th write,
// sync or rename fail, or drop what was not synced.
//
// Every error is UNAVAILABLE or NOT_FOUND with errno's text and the operation's name, never a path.
// When no descriptor is free, an operation that needs one waits for up to 5 s before it fails. A
// failed Sync is final: the kernel may have dropped the dirty pages, so the caller must not sync
// again and believe the answer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/bytes.h"

namespace mayfly {

// An open file, written in place. Thread-safe as pread and pwrite are.
class File {
 public:
  virtual ~File() = default;
  // Fills `out` whole or fails; OUT_OF_RANGE past the end.
  virtual absl::Status ReadAt(uint64_t offset, MutableByteSpan out) = 0;
  virtual absl::Status WriteAt(uint64_t offset, ByteSpan data) = 0;
  virtual absl::Status Sync() = 0;  // fdatasync
  virtual absl::StatusOr<uint64_t> Size() = 0;
  // A shared read-only mapping of the first `size` bytes, valid while this object lives. A later
  // call with a larger size leaves earlier mappings valid.
  virtual absl::StatusOr<ByteSpan> Map(uint64_t size) = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  // Opens for reading and writing; with `create`, makes it (mode 0600) when it is not there.
  virtual absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, bool create) = 0;
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Remove(const std::string& path) = 0;
  virtual absl::Status SyncDirectory(const std::string& path) = 0;
  virtual bool Exists(const std::string& path) = 0;
};

// The machine's own file system; lives for ever.
FileSystem* PosixFileSystem();

// Replaces the file at `directory`/`name` as a whole, or leaves it as it was: write to a temporary
// neighbour, sync, rename, sync the directory.
absl::Status ReplaceFile(FileSystem* file_system, const std::string& directory,
                         const std::string& name, ByteSpan content);

// Whether the operation that failed with `status` changed nothing for want of a descriptor, so that
// it may be tried again.
bool WroteNothing(const absl::Status& status);

// The whole content of a file of at most `bytes_max` bytes.
absl::StatusOr<std::string> ReadFile(FileSystem* file_system, const std::string& path,
                                     uint64_t bytes_max);

}  // namespace mayfly
