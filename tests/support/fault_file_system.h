// A FileSystem over real files whose operations fail on demand and whose power can be cut.
//
// Failing: every write, sync, rename, creation, truncation and removal asks the FaultPlan first. A
// write that fails has written its first half, in whole sectors: neither a disk nor the page cache
// takes part of one. A sync that fails loses what it was to cover: no later sync of that file makes
// those bytes durable, as Linux has it.
//
// Power loss: everything that is not synced is remembered. DropUnsynced puts each 512-byte sector
// that was written since the last sync back to one of its contents since then, independently of the
// others; a file that grew keeps its new size or not; renames, creations and removals since the
// last SyncDirectory are undone from the last one back to a random one, as a journal would have it.
//
//   FaultPlan plan;
//   FaultFileSystem files(&plan, scratch_directory);
//   ... use files ...
//   plan.FailFromNowOn();       // nothing is written any more: the moment of the power loss
//   ... destroy what uses them ...
//   files.DropUnsynced(&random);
//   plan.NeverFail();           // and open again
//
// Thread-safe but for DropUnsynced, during which no File of it may be in use.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "base/mutex.h"
#include "support/fault_plan.h"

namespace mayfly {

class FaultFileSystem : public FileSystem {
 public:
  // `scratch_directory` keeps files that were replaced or removed, until that is synced. It is on
  // the file system of the files themselves, and empty. `plan` outlives this.
  FaultFileSystem(FaultPlan* plan, std::string scratch_directory);
  ~FaultFileSystem() override;

  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, bool create) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status SyncDirectory(const std::string& path) override;
  bool Exists(const std::string& path) override;

  void DropUnsynced(std::mt19937_64* random);

 private:
  class Disk;
  class FaultFile;
  struct Inode;

  const std::unique_ptr<Disk> disk_;
};

}  // namespace mayfly
