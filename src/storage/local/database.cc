#include "storage/local/database.h"

#include <cstdarg>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "rocksdb/listener.h"

#include "storage/local/rocksdb_crc32c.h"

namespace mayfly {
namespace {

constexpr char kFormatKey[] = "format";
constexpr char kFormatVersion[] = "3";
constexpr char kStoreKey[] = "store";

rocksdb::Slice SliceOf(const StoreId& id) {
  return rocksdb::Slice(reinterpret_cast<const char*>(id.data()), id.size());
}

class ClockedEnvironment : public rocksdb::EnvWrapper {
 public:
  ClockedEnvironment(const std::shared_ptr<rocksdb::FileSystem>& file_system,
                     const std::shared_ptr<rocksdb::SystemClock>& clock)
      : EnvWrapper(rocksdb::NewCompositeEnv(file_system)) {
    file_system_ = file_system;
    system_clock_ = clock;
  }
  const char* Name() const override { return "ClockedEnvironment"; }
};

class ForwardingLogger : public rocksdb::Logger {
 public:
  explicit ForwardingLogger(const StorageHealth* health)
      : Logger(rocksdb::InfoLogLevel::WARN_LEVEL), health_(health) {}

  using Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    Logv(rocksdb::InfoLogLevel::INFO_LEVEL, format, arguments);
  }
  void Logv(rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < GetInfoLogLevel() || level == rocksdb::InfoLogLevel::HEADER_LEVEL) return;
    char text[512];
    std::vsnprintf(text, sizeof text, format, arguments);
    // Rows that annihilated each other were counted and are not read: row_table.h.
    if (absl::StrContains(text, "entries in memtables, but read")) return;
    // Asked again every second while there is no room for a compaction: disk_room.h.
    if (absl::StrContains(text, "Compaction too large")) return;
    health_->Log(level >= rocksdb::InfoLogLevel::ERROR_LEVEL ? StorageLogLevel::kError
                                                             : StorageLogLevel::kWarning,
                 absl::StrCat("rocksdb: ", text));
  }

 private:
  const StorageHealth* const health_;
};

class FailureListener : public rocksdb::EventListener {
 public:
  FailureListener(StorageHealth* health, std::shared_ptr<std::atomic<uint32_t>> damaged_families)
      : health_(health), damaged_families_(std::move(damaged_families)) {}

  void OnCompactionCompleted(rocksdb::DB* /*database*/,
                             const rocksdb::CompactionJobInfo& job) override {
    if (job.status.IsCorruption()) damaged_families_->fetch_or(1u << job.cf_id);
  }

  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override {
    if (reason == rocksdb::BackgroundErrorReason::kCompaction && error->IsCorruption()) {
      health_->Alarm("compacting", error->ToString());
      *error = rocksdb::Status::OK();  // the database goes on
      return;
    }
    // The answer is for callers; the next one of them gets it.
    (void)health_->Fail("background work", error->ToString());
  }

 private:
  StorageHealth* const health_;
  const std::shared_ptr<std::atomic<uint32_t>> damaged_families_;
};

// "db/000012.sst" when RocksDB's text names a table file, else empty.
std::string TableFileIn(absl::string_view text) {
  const size_t end = text.find(".sst");
  if (end == absl::string_view::npos) return "";
  const size_t begin = text.substr(0, end).find_last_not_of("0123456789") + 1;
  return begin == end ? "" : absl::StrCat("db/", text.substr(begin, end - begin), ".sst");
}

absl::Status OpenError(const rocksdb::Status& status, bool skips_damaged_records) {
  // RocksDB looks for a table file under the name it once had, too, and tells of that one.
  const std::string reason = absl::StrReplaceAll(status.ToString(), {{".ldb", ".sst"}});
  if (const std::string table = TableFileIn(reason); !table.empty()) {
    return absl::DataLossError(absl::StrCat(
        "data loss: the table file ", table, " is missing, damaged or may not be read: ", reason,
        ": put it back as it was, with the owner of the data directory, or move the whole data "
        "directory away to start empty; storage.accept_data_loss does not help here, because this "
        "file may say of any call that it has ended"));
  }
  const std::string text = absl::StrCat("the database db does not open: ", reason, ": ");
  if (!status.IsCorruption()) {
    return absl::UnavailableError(
        absl::StrCat(text,
                     "see that the file system has room and that the owner of the data "
                     "directory runs the server"));
  }
  constexpr absl::string_view kRestore =
      "restore the data directory, or move it away to start empty";
  return absl::DataLossError(
      skips_damaged_records
          ? absl::StrCat("data loss: ", text, kRestore,
                         "; storage.accept_data_loss gives up records of logs, and not this")
          : absl::StrCat(
                "data loss: ", text, kRestore,
                "; if a log is damaged (NUMBER.log), storage.accept_data_loss for one start "
                "gives up its damaged records"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const Options& options,
                                                         StorageHealth* health) {
  auto database = std::unique_ptr<Database>(new Database);
  database->environment_ = std::make_unique<ClockedEnvironment>(
      options.file_system ? options.file_system : rocksdb::FileSystem::Default(),
      options.clock ? options.clock : rocksdb::SystemClock::Default());

  rocksdb::DBOptions database_options = DatabaseOptions(options.sizes);
  if (options.skip_damaged_records) {
    database_options.wal_recovery_mode = rocksdb::WALRecoveryMode::kSkipAnyCorruptedRecords;
  }
  database_options.env = database->environment_.get();
  database_options.info_log = std::make_shared<ForwardingLogger>(health);
  database->file_manager_.reset(rocksdb::NewSstFileManager(
      database->environment_.get(), database_options.info_log, /*trash_dir=*/"",
      /*rate_bytes_per_sec=*/0));
  database->file_manager_->SetCompactionBufferSize(kCompactionMarginBytes);
  database->file_manager_->SetMaxAllowedSpaceUsage(kCompactionMarginBytes +
                                                   options.compaction_room_bytes);
  database_options.sst_file_manager = database->file_manager_;
  database_options.listeners.push_back(
      std::make_shared<FailureListener>(health, database->damaged_families_));
  database->compaction_watch_ = std::make_shared<CompactionWatch>();
  database_options.listeners.push_back(database->compaction_watch_);
  database_options.listeners.push_back(database->log_watch_);

  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::Open(database_options, options.directory, FamilyDescriptors(options.sizes),
                        &database->families_, &opened);
  if (!status.ok()) {
    health->Log(StorageLogLevel::kError, absl::StrCat("rocksdb: ", status.ToString()));
    return OpenError(status, options.skip_damaged_records);
  }
  database->database_.reset(opened);
  if (!RocksdbUsesProcessorCrc32c()) {
    health->Log(
        StorageLogLevel::kWarning,
        "RocksDB computes its checksums by itself, which costs large payloads as much as their "
        "encryption: this build does not take the place of its CRC-32C");
  }
  return database;
}

Database::~Database() {
  if (database_ == nullptr) return;
  for (rocksdb::ColumnFamilyHandle* family : families_) {
    database_->DestroyColumnFamilyHandle(family).PermitUncheckedError();
  }
  database_->Close().PermitUncheckedError();
}

absl::StatusOr<bool> Database::CheckFormat(const StoreId& store_id) {
  std::string version;
  std::string store;
  rocksdb::ColumnFamilyHandle* const rows = family(Family::kDefault);
  rocksdb::Status found = database_->Get(rocksdb::ReadOptions(), rows, kFormatKey, &version);
  if (found.IsNotFound()) return true;
  if (found.ok()) found = database_->Get(rocksdb::ReadOptions(), rows, kStoreKey, &store);
  if (!found.ok() && !found.IsNotFound()) {
    return absl::UnavailableError("the database's format cannot be read");
  }
  if (version != kFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("the database db is not of format ", kFormatVersion,
                     ", the one this program reads: run the version of mayflyd that wrote it until "
                     "its calls have ended, 24 h at most, or move the whole data directory away to "
                     "start empty"));
  }
  if (SliceOf(store_id) != store) {
    return absl::FailedPreconditionError(
        "the database db is another store's than the slot file keys/slots and the keyring "
        "keys/keyring: put the right ones back, or move the whole data directory away to start "
        "empty");
  }
  return false;
}

absl::Status Database::WriteFormat(const StoreId& store_id) {
  rocksdb::WriteBatch batch;
  batch.Put(family(Family::kDefault), kFormatKey, kFormatVersion);
  batch.Put(family(Family::kDefault), kStoreKey, SliceOf(store_id));
  rocksdb::WriteOptions synced;
  synced.sync = true;
  if (database_->Write(synced, &batch).ok()) return absl::OkStatus();
  return absl::UnavailableError("the database's format cannot be written");
}

absl::Status Database::StopDamagedCompactions() {
  const uint32_t damaged = damaged_families_->exchange(0);
  for (rocksdb::ColumnFamilyHandle* const family : families_) {
    if ((damaged >> family->GetID() & 1) == 0) continue;
    const rocksdb::Status status =
        database_->SetOptions(family, {{"disable_auto_compactions", "true"}});
    if (!status.ok()) return absl::UnavailableError(status.ToString());
  }
  return absl::OkStatus();
}

}  // namespace mayfly
