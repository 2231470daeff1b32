// The column families of local storage, and the RocksDB options that make their rules hold.
//
//   family      holds                     removed by     why these options
//   calls       payload rows              SingleDelete   large memtable, a row table: a row that is
//                                                        stored and removed while in it never
//                                                        reaches a file
//   segments    where parts of large      Delete         small rows
//               payloads lie
//   deadlines   what is due when          SingleDelete   as calls
//   tombstones  ended calls               FIFO and TTL   whole files are dropped, nothing is
//                                                        deleted
//   tenants     names and numbers         -
//   usage       live calls and bytes      -              overwritten by each commit
//   uploads     payloads on their way     Delete
//   segment_    what is known of each     Delete
//   files       segment file
//
// THE TRAP: Delete and SingleDelete must never meet in one family. Put, Delete, SingleDelete of
// one key within a memtable fails its flush, and the database does not open again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rocksdb/db.h"
#include "rocksdb/options.h"

namespace mayfly {

enum class Family : size_t {
  kDefault,  // the format's version, the window around ids
  kCalls,
  kSegments,
  kDeadlines,
  kTombstones,
  kTenants,
  kUsage,
  kUploads,
  kSegmentFiles,
};
inline constexpr size_t kFamilyCount = 9;

struct FamilySizes {
  // All memtables that are written to; while some are flushed there may be twice as much.
  uint64_t memtable_bytes = 0;
  // A file of tombstones is dropped this long after it was written.
  uint64_t tombstone_file_ttl_s = 0;
};

// How large the level that new files are merged with may get.
uint64_t BaseLevelBytes(uint64_t memtable_bytes);
// What one compaction below the base level takes at most, but for rows larger than that.
uint64_t CompactionBytesMax(uint64_t memtable_bytes);

std::vector<rocksdb::ColumnFamilyDescriptor> FamilyDescriptors(const FamilySizes& sizes);

// The options of the database as a whole, without environment, log and listeners.
rocksdb::DBOptions DatabaseOptions(const FamilySizes& sizes);

}  // namespace mayfly
