#include "storage/local/needed_logs.h"

#include <memory>
#include <vector>

#include "rocksdb/db.h"
#include "rocksdb/options.h"
#include "rocksdb/wal_filter.h"

namespace mayfly {
namespace {

// Opens few table files: their content does not matter.
constexpr int kOpenFilesMax = 16;

// The logs are not to be replayed.
class SkipLogs : public rocksdb::WalFilter {
 public:
  WalProcessingOption LogRecord(const rocksdb::WriteBatch& /*batch*/,
                                rocksdb::WriteBatch* /*new_batch*/,
                                bool* /*batch_changed*/) const override {
    return WalProcessingOption::kStopReplay;
  }
  const char* Name() const override { return "SkipLogs"; }
};

}  // namespace

std::optional<uint64_t> OldestNeededLog(const std::string& directory) {
  SkipLogs skip_logs;
  rocksdb::DBOptions options;
  options.max_open_files = kOpenFilesMax;
  options.skip_checking_sst_file_sizes_on_db_open = true;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kSkipAnyCorruptedRecords;
  options.wal_filter = &skip_logs;
  std::vector<std::string> names;
  if (!rocksdb::DB::ListColumnFamilies(options, directory, &names).ok()) return std::nullopt;
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string& name : names) families.emplace_back(name, rocksdb::ColumnFamilyOptions());

  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  if (!rocksdb::DB::OpenForReadOnly(options, directory, families, &handles, &opened).ok()) {
    return std::nullopt;
  }
  const std::unique_ptr<rocksdb::DB> database(opened);
  uint64_t oldest = 0;
  const bool is_known =
      database->GetIntProperty(rocksdb::DB::Properties::kMinLogNumberToKeep, &oldest);
  for (rocksdb::ColumnFamilyHandle* const handle : handles) {
    database->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
  }
  // Zero: the manifest was begun anew and does not say.
  return is_known && oldest != 0 ? std::optional(oldest) : std::nullopt;
}

}  // namespace mayfly
