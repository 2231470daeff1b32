#include "storage/local/column_families.h"

#include <algorithm>
#include <limits>

#include "rocksdb/cache.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/table.h"

#include "storage/local/row_table.h"

namespace mayfly {
namespace {

// Of sixteen parts of the memtables, beside the small ones.
constexpr uint64_t kCallsParts = 11;
constexpr uint64_t kDeadlinesParts = 4;
constexpr uint64_t kTombstonesParts = 1;
constexpr uint64_t kSmallFamilyBytes = 1 << 20;

// Table files and levels shrink with the memtables, so that compactions do (disk_plan.h). At 256 MiB
// and above they are RocksDB's defaults.
constexpr uint64_t kTableFileBytesMin = 1 << 20;
constexpr uint64_t kTableFileBytesMax = 64 << 20;
constexpr uint64_t kBaseLevelBytesMin = 4 << 20;
constexpr uint64_t kBaseLevelBytesMax = 256 << 20;
// RocksDB stops adding files to a compaction at its limit, and cuts files so that each overlaps as
// much of the next level. The last file added can double it, and files reach over both ends.
constexpr uint64_t kTableFilesPerCompaction = 8;
constexpr uint64_t kTableFilesPerCompactionMax = 2 * kTableFilesPerCompaction + 4;

// Blocks, indexes and filters of all families; a bound, so that memory does not grow with what is
// stored.
constexpr size_t kBlockCacheBytes = 64 << 20;
constexpr size_t kBlockBytes = 16 << 10;
constexpr double kBloomBitsPerKey = 10;

constexpr uint64_t kSyncStepBytes = 1 << 20;

// Begun anew when it is as long; by default a GiB.
constexpr uint64_t kManifestBytes = 4 << 20;
// RocksDB slows down or stops all writes, acks too, when compactions lag. Here puts are refused
// instead (disk_room.cc).
constexpr int kNeverStopWrites = 1 << 20;

uint64_t TableFileBytes(uint64_t memtable_bytes) {
  return std::clamp(memtable_bytes / 4, kTableFileBytesMin, kTableFileBytesMax);
}

rocksdb::ColumnFamilyOptions CommonOptions(const std::shared_ptr<rocksdb::Cache>& cache,
                                           uint64_t memtable_bytes) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.block_size = kBlockBytes;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerKey));
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.format_version = 5;

  rocksdb::ColumnFamilyOptions options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.write_buffer_size = memtable_bytes;
  options.level0_slowdown_writes_trigger = kNeverStopWrites;
  options.level0_stop_writes_trigger = kNeverStopWrites;
  options.soft_pending_compaction_bytes_limit = 0;
  options.hard_pending_compaction_bytes_limit = 0;
  options.compression = rocksdb::kNoCompression;  // ciphertext
  options.bottommost_compression = rocksdb::kNoCompression;
  options.level_compaction_dynamic_level_bytes = true;
  return options;
}

// For families whose rows come and go, by key.
rocksdb::ColumnFamilyOptions WithRowTable(rocksdb::ColumnFamilyOptions options) {
  options.memtable_factory = std::make_shared<RowTableFactory>(options.write_buffer_size);
  return options;
}

rocksdb::ColumnFamilyOptions WithFifo(rocksdb::ColumnFamilyOptions options, uint64_t ttl_s) {
  options.compaction_style = rocksdb::kCompactionStyleFIFO;
  options.level_compaction_dynamic_level_bytes = false;
  options.ttl = ttl_s;
  // A size limit would drop what has not expired. No merging either: a merged file counts as old
  // as its oldest part, and would drop its youngest early.
  options.compaction_options_fifo.max_table_files_size = std::numeric_limits<uint64_t>::max() / 2;
  options.compaction_options_fifo.allow_compaction = false;
  return options;
}

}  // namespace

uint64_t BaseLevelBytes(uint64_t memtable_bytes) {
  return std::clamp(memtable_bytes, kBaseLevelBytesMin, kBaseLevelBytesMax);
}

uint64_t CompactionBytesMax(uint64_t memtable_bytes) {
  return kTableFilesPerCompactionMax * TableFileBytes(memtable_bytes);
}

std::vector<rocksdb::ColumnFamilyDescriptor> FamilyDescriptors(const FamilySizes& sizes) {
  const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(kBlockCacheBytes);
  const auto sized = [&](uint64_t family_bytes) {
    rocksdb::ColumnFamilyOptions options = CommonOptions(cache, family_bytes);
    options.target_file_size_base = TableFileBytes(sizes.memtable_bytes);
    options.max_bytes_for_level_base = BaseLevelBytes(sizes.memtable_bytes);
    options.max_compaction_bytes = kTableFilesPerCompaction * TableFileBytes(sizes.memtable_bytes);
    return options;
  };
  const auto common = [&](uint64_t parts) {
    return sized(std::max(sizes.memtable_bytes / 16 * parts, kSmallFamilyBytes));
  };
  const rocksdb::ColumnFamilyOptions small = sized(kSmallFamilyBytes);
  return {
      {rocksdb::kDefaultColumnFamilyName, small},
      {"calls", WithRowTable(common(kCallsParts))},
      {"segments", small},
      {"deadlines", WithRowTable(common(kDeadlinesParts))},
      {"tombstones", WithFifo(WithRowTable(common(kTombstonesParts)), sizes.tombstone_file_ttl_s)},
      {"tenants", small},
      {"usage", small},
      {"uploads", small},
      {"segment_files", small},
  };
}

rocksdb::DBOptions DatabaseOptions(const FamilySizes& sizes) {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  // A torn page in the unsynced tail of the log is normal after power loss, and makes the stricter
  // modes refuse to open. What was synced is guarded by the sequence in the slot file.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.recycle_log_file_num = 0;  // does not go with that mode
  // What was recovered is written to synced files: a log that a killed process left in the page
  // cache proves nothing.
  options.avoid_flush_during_recovery = false;
  // Bounds replay. A family that is rarely flushed would else pin the log, ciphertext included.
  options.max_total_wal_size = 2 * sizes.memtable_bytes;
  // The log is written to the disk as it comes, or the sync that ends a large group would hold up those
  // of everybody else.
  options.wal_bytes_per_sync = kSyncStepBytes;
  options.bytes_per_sync = kSyncStepBytes;
  // A log would else take a memtable's size of the disk when it is begun, and table files a tenth more
  // than they need while they are written: room that nobody has reserved.
  options.allow_fallocate = false;
  options.max_manifest_file_size = kManifestBytes;
  options.max_open_files = -1;  // FIFO with TTL needs it
  // By default every family starts 16 threads to open its files, at each start.
  options.max_file_opening_threads = 1;
  options.max_bgerror_resume_count = 0;             // see storage_health.h
  options.allow_concurrent_memtable_write = false;  // see row_table.h for both
  options.flush_verify_memtable_count = false;
  options.max_background_jobs = 4;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.skip_stats_update_on_db_open = true;
  return options;
}

}  // namespace mayfly
