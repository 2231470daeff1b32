// RocksDB's FileSystem over real files whose operations fail on demand and whose power can be cut.
//
// Failing: every write, sync, creation, rename and removal asks the FaultPlan first. A write that
// fails has written its first half. A sync that fails loses what it was to cover: no later sync of
// that file makes those bytes durable, as Linux has it.
//
// Power loss: everything that is not synced is remembered. DropUnsynced cuts each file somewhere
// between its synced and its written size, and may spoil what is left of the unsynced part, but not in
// a manifest: RocksDB refuses one with a spoiled tail, which ext4 with data=writeback may leave and no
// file system that mayflyd accepts. Renames, creations and removals since the last sync of the
// directory are undone from the last one back to a random one, as a journal would have it. Used as
// fault_file_system.h shows.
//
// Thread-safe but for DropUnsynced, during which no database may be open.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "rocksdb/file_system.h"

#include "base/mutex.h"
#include "support/fault_plan.h"

namespace mayfly {

class FaultRocksFileSystem : public rocksdb::FileSystemWrapper {
 public:
  // `scratch_directory` keeps files that were replaced or removed, until that is synced. It is on
  // the file system of the files themselves, and empty. `plan` outlives this.
  FaultRocksFileSystem(FaultPlan* plan, std::string scratch_directory);

  void DropUnsynced(std::mt19937_64* random);

  const char* Name() const override { return "FaultRocksFileSystem"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* file,
                                       rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  class FaultFile;
  class FaultDirectory;

  // How much of a file is written, and how much of that survives.
  struct Extent {
    Mutex mutex;
    uint64_t written GUARDED_BY(mutex) = 0;
    uint64_t synced GUARDED_BY(mutex) = 0;
    bool sync_failed GUARDED_BY(mutex) = false;
  };

  // One change of a directory, with what it takes to undo it.
  struct Change {
    std::string path;      // what appeared, or what was removed
    std::string from;      // for a rename: the name it had
    std::string replaced;  // in the scratch directory: what had this path before; may be empty
    bool is_removal = false;
  };

  void SetAside(const std::string& path, Change* change) REQUIRES_LOCK(mutex_);
  void Move(const std::string& from, const std::string& to) REQUIRES_LOCK(mutex_);
  void Forget(const std::string& path) REQUIRES_LOCK(mutex_);
  void DirectorySynced(const std::string& directory) EXCLUDES_LOCK(mutex_);
  void Undo(const Change& change) REQUIRES_LOCK(mutex_);

  FaultPlan* const plan_;
  const std::string scratch_directory_;
  Mutex mutex_;
  uint64_t set_aside_ GUARDED_BY(mutex_) = 0;
  std::vector<Change> changes_ GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<Extent>> extents_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
