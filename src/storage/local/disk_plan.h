// What the size of the file system allows: a setting that suits a large disk must not make a small
// one unusable.
//
// All that RocksDB may have on the disk beside what is stored is a multiple of its memtables: they
// are written to the log and flushed, four table files of one are merged with a level as large, a
// start writes them anew. So the memtables take a thirty-second of the file system at most, and all
// of the above together less than half of it.
#pragma once

#include <cstdint>

#include "storage/room.h"

namespace mayfly {

struct DiskPlan {
  uint64_t memtable_bytes = 0;
  uint64_t ballast_bytes = 0;
  RoomLimits limits;
  // When the log is as long and room is short, it is made to go.
  uint64_t log_bytes_short = 0;
  // Reclaiming less than this by compaction is not worth it.
  uint64_t gain_bytes_min = 0;
};

struct DiskSettings {
  uint64_t disk_bytes = 0;  // the whole file system
  uint64_t memtable_bytes = 0;
  uint64_t reserve_bytes = 0;
};

DiskPlan PlanFor(const DiskSettings& settings);

// What must be free before a new store is made, or it would take no put.
uint64_t NewStoreBytes(const DiskPlan& plan);
// The smallest disk that has as much when it is empty, whatever `settings` say of the disk.
uint64_t SmallestDiskBytes(DiskSettings settings);

}  // namespace mayfly
