// Database is RocksDB as local storage uses it: opened with its column families, environment and
// log, and closed in the right order.
//
// RocksDB's own log goes to our log and nowhere else. A background error puts `health` down: a
// flush that failed once is not tried again. Damage that a compaction reads is no such error, since
// what was to be written is given up and nothing that is there has changed. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/file_system.h"
#include "rocksdb/slice.h"
#include "rocksdb/sst_file_manager.h"
#include "rocksdb/system_clock.h"

#include "keys/store_id.h"
#include "storage/local/column_families.h"
#include "storage/local/compaction_watch.h"
#include "storage/local/log_watch.h"
#include "storage/local/storage_health.h"

namespace mayfly {

template <size_t kSize>
rocksdb::Slice AsSlice(const std::array<char, kSize>& bytes) {
  return rocksdb::Slice(bytes.data(), bytes.size());
}
inline rocksdb::Slice AsSlice(absl::string_view text) {
  return rocksdb::Slice(text.data(), text.size());
}
inline absl::string_view AsText(const rocksdb::Slice& slice) {
  return absl::string_view(slice.data(), slice.size());
}

class Database {
 public:
  // RocksDB fails when its files exceed the file manager's limit by any means, and skips a compaction
  // that would take them within this of it. So the limit is never near, and this margin below it
  // says what compactions may take.
  static constexpr uint64_t kCompactionMarginBytes = uint64_t{1} << 60;

  struct Options {
    std::string directory;
    FamilySizes sizes;
    // The bytes that compactions may add to all table files until the file manager is told otherwise.
    uint64_t compaction_room_bytes = 0;
    // Leaves out the records of the logs that are damaged, instead of not opening or ending there.
    bool skip_damaged_records = false;
    std::shared_ptr<rocksdb::FileSystem> file_system;  // null: the machine's
    std::shared_ptr<rocksdb::SystemClock> clock;       // null: the machine's
  };

  // With RocksDB's words, which name a file: DATA_LOSS when it is damaged, UNAVAILABLE when it cannot
  // be opened. `health` outlives the database.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const Options& options,
                                                        StorageHealth* health);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  rocksdb::DB* operator->() const { return database_.get(); }
  rocksdb::ColumnFamilyHandle* family(Family family) const {
    return families_[static_cast<size_t>(family)];
  }
  const std::vector<rocksdb::ColumnFamilyHandle*>& families() const { return families_; }
  // Knows the sizes of all table files, and starts no compaction that would take them above
  // its limit.
  rocksdb::SstFileManager* file_manager() const { return file_manager_.get(); }
  // Inputs of the compactions that run, all together.
  uint64_t RunningCompactionBytes() const { return compaction_watch_->running_bytes(); }
  LogWatch* log_watch() const { return log_watch_.get(); }
  rocksdb::FileSystem* file_system() const { return environment_->GetFileSystem().get(); }

  // True when the database is new and has no format yet. FAILED_PRECONDITION for a version that this
  // program does not know, and for the database of another store.
  absl::StatusOr<bool> CheckFormat(const StoreId& store_id);
  // Writes the format's version and whose the database is, synced.
  absl::Status WriteFormat(const StoreId& store_id);

  // For families whose compaction has met damage: it would be tried again every second for ever, and
  // when enough files wait for it RocksDB would stop all writes.
  absl::Status StopDamagedCompactions();

 private:
  Database() = default;

  // A bit for each family whose compaction has met damage since they were last stopped.
  const std::shared_ptr<std::atomic<uint32_t>> damaged_families_ =
      std::make_shared<std::atomic<uint32_t>>(0);
  std::unique_ptr<rocksdb::Env> environment_;
  std::shared_ptr<CompactionWatch> compaction_watch_;
  const std::shared_ptr<LogWatch> log_watch_ = std::make_shared<LogWatch>();
  std::shared_ptr<rocksdb::SstFileManager> file_manager_;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;  // by Family
  std::unique_ptr<rocksdb::DB> database_;
};

}  // namespace mayfly
