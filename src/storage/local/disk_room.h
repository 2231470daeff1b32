// The DiskRoom keeps the database within the disk: it measures what is free and what is still to be
// written, lends puts what is left, keeps RocksDB's compactions within the rest, and makes room when
// puts are refused.
//
// A thread of its own measures five times a second. When room is short it
//   - flushes all families when the log has grown, or when rows that end stored payloads wait in
//     memory: the log goes, and what ended with it;
//   - compacts the rows of calls when enough of what their files hold has ended;
//   - gives up the ballast when something else has filled the disk.
// Large payloads are no part of this: their room comes back when they end (segment_files.h).
// After each it pauses four times as long as that took, so that reclaiming takes a fifth of the disk
// at most.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "absl/time/time.h"

#include "base/mutex.h"
#include "keys/slot_file.h"
#include "storage/local/ballast.h"
#include "storage/local/database.h"
#include "storage/local/disk_plan.h"
#include "storage/local/storage_health.h"
#include "storage/room.h"

namespace mayfly {

// The size of the file system that holds `directory`, 0 when it is not known.
uint64_t DiskBytes(const std::string& directory);
// Free on it for this process, 0 when it is not known.
uint64_t FreeDiskBytes(const std::string& directory);
// All logs in the database's directory.
uint64_t LogBytes(const std::string& database_directory);

class DiskRoom {
 public:
  struct Context {
    std::string database_directory;
    DiskPlan plan;
    Database* database = nullptr;
    const SlotFile* slots = nullptr;
    StorageHealth* health = nullptr;
    // Writes all memtables to files.
    std::function<absl::Status()> flush;
  };

  // Measures once. Everything pointed to outlives it.
  DiskRoom(Context context, Ballast ballast);
  // Stops the thread, if it runs.
  ~DiskRoom();
  void StartThread();

  RoomLease Reserve(uint64_t bytes) { return budget_.Reserve(bytes); }
  RoomLease Claim(uint64_t bytes) { return budget_.Claim(bytes); }
  absl::Status Refusal(uint64_t bytes) const { return budget_.Refusal(bytes); }

  // Bytes whose rows are removed: they leave the disk after a flush and a compaction.
  void NoteRemovedRow(uint64_t bytes) { rows_.Note(bytes); }

  // One round each; the thread calls them.
  void Measure() EXCLUDES_LOCK(measure_mutex_);
  // The same after something large has changed.
  void MeasureAll() EXCLUDES_LOCK(measure_mutex_);
  // Returns how long the next one should wait.
  absl::Duration Reclaim();

 private:
  // Of one family, with what its files say of themselves.
  struct FamilyState {
    uint64_t level0_files = 0;
    uint64_t compaction_bytes = 0;  // inputs of the largest compaction that may come
    uint64_t table_bytes = 0;       // memtables that are flushed to tables included
  };
  // Bytes of rows that were removed and may still be on the disk.
  struct Removed {
    void Note(uint64_t bytes) { in_memory.fetch_add(bytes, std::memory_order_relaxed); }

    std::atomic<uint64_t> in_memory{0};  // since the last flush
    // Since the last compaction. What was removed before the start is not known, so that the first
    // shortage after it compacts in any case. The reclaiming thread's.
    uint64_t in_files = uint64_t{1} << 60;
  };

  void Run();
  // The families' part of `use`. At most once a second, and a fiftieth of the time: RocksDB stands
  // still while it lists its files.
  void MeasureFamilies(uint64_t mark) REQUIRES_LOCK(measure_mutex_);
  FamilyState StateOf(Family family) const;
  uint64_t MemtableBytes() const;
  uint64_t SlotGrowthBytes() const;
  // How much they may take, those that run included.
  void LimitCompactions(uint64_t bytes);
  void MaintainBallast(const RoomUse& use) REQUIRES_LOCK(measure_mutex_);
  void LogChange() REQUIRES_LOCK(measure_mutex_);
  void Flush();
  // Whether what is live surely fits on the disk once more, and takes less than the family's tables.
  bool LeavesLittle(const FamilyState& state) const;
  void CompactIfWorthwhile();

  const Context context_;
  RoomBudget budget_;
  Removed rows_;

  Mutex measure_mutex_;
  Ballast ballast_ GUARDED_BY(measure_mutex_);
  bool was_full_ GUARDED_BY(measure_mutex_) = false;
  RoomUse families_ GUARDED_BY(measure_mutex_);            // as last measured
  uint64_t families_mark_ GUARDED_BY(measure_mutex_) = 0;  // of the budget, then
  absl::Time measure_families_after_ GUARDED_BY(measure_mutex_) = absl::InfinitePast();
  absl::Time make_ballast_after_ GUARDED_BY(measure_mutex_) = absl::InfinitePast();

  Mutex mutex_;
  ConditionVariable stop_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mayfly
