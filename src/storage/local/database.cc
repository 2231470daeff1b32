#include "storage/local/database.h"

#include <cstdarg>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "rocksdb/listener.h"

#include "storage/local/rocksdb_crc32c.h"

namespace mayfly {
namespace {

constexpr char kFormatKey[] = "format";
constexpr char kFormatVersion[] = "1";

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
  explicit FailureListener(StorageHealth* health) : health_(health) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason /*reason*/,
                         rocksdb::Status* error) override {
    // The answer is for callers; the next one of them gets it.
    (void)health_->Fail("background work", error->ToString());
  }

 private:
  StorageHealth* const health_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const Options& options,
                                                         StorageHealth* health) {
  UseProcessorCrc32c();
  auto database = std::unique_ptr<Database>(new Database);
  database->environment_ = std::make_unique<ClockedEnvironment>(
      options.file_system ? options.file_system : rocksdb::FileSystem::Default(),
      options.clock ? options.clock : rocksdb::SystemClock::Default());

  rocksdb::DBOptions database_options = DatabaseOptions(options.sizes);
  database_options.env = database->environment_.get();
  database_options.info_log = std::make_shared<ForwardingLogger>(health);
  database->file_manager_.reset(rocksdb::NewSstFileManager(
      database->environment_.get(), database_options.info_log, /*trash_dir=*/"",
      /*rate_bytes_per_sec=*/0));
  database->file_manager_->SetCompactionBufferSize(kCompactionMarginBytes);
  database->file_manager_->SetMaxAllowedSpaceUsage(kCompactionMarginBytes +
                                                   options.compaction_room_bytes);
  database_options.sst_file_manager = database->file_manager_;
  database_options.listeners.push_back(std::make_shared<FailureListener>(health));
  database->compaction_watch_ = std::make_shared<CompactionWatch>();
  database_options.listeners.push_back(database->compaction_watch_);

  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::Open(database_options, options.directory, FamilyDescriptors(options.sizes),
                        &database->families_, &opened);
  if (!status.ok()) {
    health->Log(StorageLogLevel::kError, absl::StrCat("rocksdb: ", status.ToString()));
    return absl::UnavailableError("the database does not open, the log says why");
  }
  database->database_.reset(opened);
  return database;
}

Database::~Database() {
  if (database_ == nullptr) return;
  for (rocksdb::ColumnFamilyHandle* family : families_) {
    database_->DestroyColumnFamilyHandle(family).PermitUncheckedError();
  }
  database_->Close().PermitUncheckedError();
}

absl::Status Database::CheckFormat() {
  std::string version;
  const rocksdb::Status found =
      database_->Get(rocksdb::ReadOptions(), family(Family::kDefault), kFormatKey, &version);
  if (found.IsNotFound()) {
    rocksdb::WriteOptions synced;
    synced.sync = true;
    const rocksdb::Status written =
        database_->Put(synced, family(Family::kDefault), kFormatKey, kFormatVersion);
    if (!written.ok()) return absl::UnavailableError("the database's format cannot be written");
    return absl::OkStatus();
  }
  if (!found.ok()) return absl::UnavailableError("the database's format cannot be read");
  if (version != kFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the database's format is not ", kFormatVersion, ", the one this program reads"));
  }
  return absl::OkStatus();
}

}  // namespace mayfly
