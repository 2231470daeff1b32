#include "storage/local/local_storage.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "base/error.h"
#include "base/human_bytes.h"
#include "storage/local/disk_advice.h"
#include "storage/local/row_format.h"
#include "storage/storage_error.h"

namespace mayfly {
namespace {

constexpr char kTimeRecordName[] = "clock";
// Stands before the clock's own lines, followed by the store id in hexadecimal and a line's end.
constexpr absl::string_view kTimeRecordStore = "store ";
constexpr uint64_t kTimeRecordBytesMax = 4096;
constexpr size_t kEraseAgainCount = 4096;

}  // namespace

absl::StatusOr<std::unique_ptr<LocalStorage>> LocalStorage::Open(LocalStorageOptions options) {
  if (options.file_system == nullptr) options.file_system = PosixFileSystem();
  auto storage = std::unique_ptr<LocalStorage>(new LocalStorage(std::move(options)));
  // Keys before the database: a start that is cut off anywhere leaves no data without its keys.
  RETURN_IF_ERROR(storage->OpenKeys());
  // Before RocksDB writes anything, so that the missing file can be put back.
  RETURN_IF_ERROR(storage->CheckFiles());
  RETURN_IF_ERROR(storage->OpenDatabase());
  const StoreId& store_id = storage->slots_->store_id();
  const auto is_new = storage->database_->CheckFormat(store_id);
  RETURN_IF_ERROR(is_new.status());
  RETURN_IF_ERROR(storage->CheckRecovered());
  RETURN_IF_ERROR(storage->OpenSegmentFiles());
  if (*is_new) RETURN_IF_ERROR(storage->database_->WriteFormat(store_id));
  RETURN_IF_ERROR(storage->tenants_->Load());
  RETURN_IF_ERROR(storage->EraseWhatTombstonesName());
  RETURN_IF_ERROR(storage->Sync());
  RETURN_IF_ERROR(storage->RecordFiles());
  storage->database_->log_watch()->Notify([store = storage.get()] { store->RecordFilesSoon(); });
  storage->room_->StartThread();
  return storage;
}

LocalStorage::LocalStorage(LocalStorageOptions options)
    : options_(std::move(options)),
      health_(options_.log),
      index_(options_.index_calls_max),
      row_cache_(options_.row_cache_bytes),
      sync_group_([this] { return SyncBoth(); }),
      flushed_ms_(options_.now_ms),
      release_thread_("segment-release", 1),
      slot_sync_thread_("slot-sync", 1),
      file_record_thread_("file-record", 1) {}

LocalStorage::~LocalStorage() {
  if (database_ != nullptr) database_->log_watch()->Notify(nullptr);
}

absl::Status LocalStorage::OpenDatabase() {
  // A file is dropped when all in it is forgotten: it may have been filled for as long as a flush
  // interval before it was written.
  const int64_t file_ttl_ms = options_.tombstone_ttl_ms_max + kFlushIntervalMs;
  const DiskPlan plan = PlanDisk();
  const std::string& path = directory_->database_path();
  Ballast ballast(options_.data_dir, plan.ballast_bytes);
  // The log is written into table files before it goes.
  const uint64_t recovery_bytes = RoomBudget::FlushBytes(LogBytes(path)) + plan.limits.fixed_bytes;
  if (FreeDiskBytes(path) < recovery_bytes) ballast.Release();
  const uint64_t free_bytes = FreeDiskBytes(path);
  auto database =
      Database::Open({.directory = path,
                      .sizes = {.memtable_bytes = plan.memtable_bytes,
                                .tombstone_file_ttl_s = static_cast<uint64_t>(file_ttl_ms / 1000)},
                      .compaction_room_bytes = free_bytes - std::min(free_bytes, recovery_bytes),
                      .skip_damaged_records = options_.accept_data_loss,
                      .file_system = options_.rocksdb_file_system,
                      .clock = options_.rocksdb_clock},
                     &health_);
  RETURN_IF_ERROR(database.status());
  database_ = *std::move(database);
  // RocksDB has begun a log of its own.
  const auto logs = FindLogs(path);
  RETURN_IF_ERROR(logs.status());
  if (!logs->empty()) first_log_ = logs->back().number;
  tenants_ = std::make_unique<TenantTable>(database_.get(), &health_);
  room_ = std::make_unique<DiskRoom>(DiskRoom::Context{.database_directory = path,
                                                       .plan = plan,
                                                       .database = database_.get(),
                                                       .slots = slots_.get(),
                                                       .health = &health_,
                                                       .flush = [this] { return FlushAll(); }},
                                     std::move(ballast));
  return absl::OkStatus();
}

DiskSettings LocalStorage::DiskSettingsIn() const {
  return {.disk_bytes = options_.disk_bytes != 0 ? options_.disk_bytes
                                                 : DiskBytes(directory_->database_path()),
          .memtable_bytes = options_.memtable_bytes,
          .reserve_bytes = options_.disk_reserve_bytes};
}

DiskPlan LocalStorage::PlanDisk() const {
  const DiskSettings settings = DiskSettingsIn();
  const DiskPlan plan = PlanFor(settings);
  if (plan.memtable_bytes < options_.memtable_bytes) {
    health_.Log(
        StorageLogLevel::kInfo,
        absl::StrCat("memtables have ", HumanBytes(plan.memtable_bytes),
                     " instead of storage.memtable_bytes, ", HumanBytes(options_.memtable_bytes),
                     ": the file system has ", HumanBytes(settings.disk_bytes)));
  }
  return plan;
}

absl::Status LocalStorage::EraseWhatTombstonesName() {
  std::vector<SlotRef> slots;
  // Those of the last groups before a crash were in the log, and are in a file of their own by now.
  // What damage in an older file hides was erased long ago.
  RowWalk rows(*database_, Family::kTombstones);
  for (; rows.Valid(); rows.Next()) {
    const std::optional<NamedSlots> named = DecodeNamedSlots(rows.key(), rows.value());
    if (!named) return absl::DataLossError("a tombstone is not in the format of this program");
    for (const SlotRef slot : *named) {
      if (slot.generation != 0 && slots_->StateOf(slot) == SlotState::kLive) slots.push_back(slot);
    }
    if (slots.size() < kEraseAgainCount) continue;
    RETURN_IF_ERROR(slots_->Erase(slots));
    slots.clear();
  }
  RETURN_IF_ERROR(EndWalk("reading tombstones", rows));
  return slots_->Erase(slots);
}

absl::StatusOr<std::vector<SlotLease>> LocalStorage::ReserveSlots(size_t count) {
  RETURN_IF_ERROR(health_.Check());
  return slots_->Reserve(count);
}

void LocalStorage::ReturnSlots(absl::Span<const SlotRef> slots) { slots_->Return(slots); }

SlotState LocalStorage::StateOf(SlotRef slot) const {
  if (!lost_generations_.empty() && lost_generations_.contains(slot.generation)) {
    return SlotState::kNeverStored;
  }
  return slots_->StateOf(slot);
}

absl::StatusOr<SecretBytes> LocalStorage::ReadSecret(SlotRef slot) const {
  RETURN_IF_ERROR(health_.Check());
  auto secret = slots_->ReadSecret(slot);
  if (!secret.ok()) return WithKind(secret.status(), StorageErrorKind::kUnreadable);
  return secret;
}

Keyring* LocalStorage::keyring() { return keyring_.get(); }

uint64_t LocalStorage::boot_number() const { return slots_->boot_number(); }

absl::Status LocalStorage::Sync() {
  RETURN_IF_ERROR(health_.Check());
  return sync_group_.Sync();
}

absl::Status LocalStorage::SyncErasures() {
  RETURN_IF_ERROR(health_.Check());
  return SyncSlots();
}

absl::Status LocalStorage::SyncBoth() {
  // The slots below it have their rows in the log, unless some are written ahead of them just now.
  uint64_t generation = slots_->WrittenGeneration();
  if (slots_first_count_ != 0) generation = 0;
  std::vector<SegmentExtent> released;
  {
    MutexLock lock(&released_mutex_);
    released.swap(released_);
  }
  // Rows leave before their slots are erased, so the log has what removed them.
  const uint64_t erasure_count = slots_->erasure_count();
  // Read before the log is synced, so that the log covers it.
  const uint64_t sequence = (*database_)->GetLatestSequenceNumber();
  // Before the log that has their payload's row.
  if (segment_sync_wanted_.exchange(false)) RETURN_IF_ERROR(segment_files_->Sync());
  const bool is_wanted = log_sync_wanted_.exchange(false);
  const bool log_is_dirty = is_wanted || sequence != synced_sequence_;
  if (log_is_dirty && slots_->is_dirty()) {
    slot_sync_thread_.Run([this] {
      absl::Status status = SyncSlots();
      MutexLock lock(&slot_sync_mutex_);
      slot_sync_status_ = std::move(status);
      slot_sync_done_.NotifyOne();
    });
    const absl::Status log_status = SyncLog();
    absl::Status slot_status;
    {
      MutexLock lock(&slot_sync_mutex_);
      while (!slot_sync_status_) slot_sync_done_.Wait(&slot_sync_mutex_);
      slot_status = *std::exchange(slot_sync_status_, std::nullopt);
    }
    RETURN_IF_ERROR(log_status);
    RETURN_IF_ERROR(slot_status);
  } else if (log_is_dirty) {
    // Another sync of the slots may be under way, which is waited for.
    RETURN_IF_ERROR(SyncSlots());
    RETURN_IF_ERROR(SyncLog());
  } else {
    RETURN_IF_ERROR(SyncSlots());
  }
  if (log_is_dirty) {
    // Before anything is answered: a process that is killed leaves it in the page cache. It is no
    // reason for a sync of its own.
    const absl::Status recorded = slots_->RecordSynced(sequence, generation);
    if (!recorded.ok()) return health_.Fail("writing the slot file's record", recorded.message());
  }
  synced_sequence_ = sequence;
  slots_->RowsSynced(erasure_count);
  if (!released.empty()) {
    release_thread_.Run([this, released = std::move(released)]() mutable {
      segment_files_->Release(std::move(released));
    });
  }
  // A flush that failed meanwhile is a failure of what was to be synced.
  return health_.Check();
}

absl::Status LocalStorage::SyncLog() {
  // RocksDB does not expect to be called again after a failure: Debian's build has its assertions.
  RETURN_IF_ERROR(health_.Check());
  const rocksdb::Status status = (*database_)->SyncWAL();
  if (!status.ok()) return health_.Fail("syncing the log", status.ToString());
  return absl::OkStatus();
}

absl::Status LocalStorage::SyncSlots() {
  const absl::Status status = slots_->Sync();
  if (!status.ok()) return health_.Fail("syncing slots", status.message());
  return absl::OkStatus();
}

absl::Status LocalStorage::Erase(absl::Span<const SlotRef> slots) {
  RETURN_IF_ERROR(health_.Check());
  const absl::Status status = slots_->Erase(slots);
  if (!status.ok()) return health_.Fail("erasing slots", status.message());
  return absl::OkStatus();
}

absl::StatusOr<TenantRecord> LocalStorage::ResolveTenant(absl::string_view name,
                                                         int64_t max_ttl_ms) {
  return tenants_->Resolve(name, max_ttl_ms);
}

absl::StatusOr<std::vector<std::pair<std::string, TenantRecord>>> LocalStorage::Tenants() {
  RETURN_IF_ERROR(health_.Check());
  return tenants_->All();
}

absl::Status LocalStorage::UpdateTenant(absl::string_view name, const TenantRecord& record) {
  return tenants_->Update(name, record);
}

absl::StatusOr<std::vector<TenantUsage>> LocalStorage::LoadUsage() { return SumUsage({}); }

absl::StatusOr<std::vector<TenantUsage>> LocalStorage::LoadUsage(uint32_t shard) {
  return SumUsage(shard);
}

absl::StatusOr<std::vector<TenantUsage>> LocalStorage::SumUsage(std::optional<uint32_t> shard) {
  RETURN_IF_ERROR(health_.Check());
  std::map<TenantNumber, TenantUsage> sums;
  // What is stepped over counts as nothing used: that is better than no start.
  RowWalk rows(*database_, Family::kUsage);
  for (; rows.Valid(); rows.Next()) {
    const auto usage = DecodeUsage(rows.key(), rows.value());
    if (!usage) return absl::DataLossError("a usage row is not in the format of this program");
    if (shard && usage->first != *shard) continue;
    TenantUsage& sum = sums[usage->second.tenant];
    sum.tenant = usage->second.tenant;
    sum.live_calls += usage->second.live_calls;
    sum.live_bytes += usage->second.live_bytes;
  }
  RETURN_IF_ERROR(EndWalk("reading usage", rows));
  std::vector<TenantUsage> all;
  for (const auto& [tenant, sum] : sums) all.push_back(sum);
  return all;
}

std::string LocalStorage::StoreIdText() const {
  return absl::BytesToHexString(AsText(ByteSpan(slots_->store_id())));
}

absl::StatusOr<std::optional<std::string>> LocalStorage::LoadTimeRecord() {
  MutexLock lock(&time_record_mutex_);
  auto record = ReadFile(options_.file_system, directory_->keys_path() + "/" + kTimeRecordName,
                         kTimeRecordBytesMax);
  if (absl::IsNotFound(record.status())) return std::optional<std::string>();
  RETURN_IF_ERROR(record.status());
  absl::string_view text = *record;
  // Without that line it is damaged, which whoever decodes the rest will find.
  if (absl::ConsumePrefix(&text, kTimeRecordStore)) {
    if (!absl::ConsumePrefix(&text, StoreIdText())) {
      return absl::FailedPreconditionError(
          "the clock's record keys/clock is another store's: put the right one back, or remove it "
          "to start from the wall clock");
    }
    absl::ConsumePrefix(&text, "\n");
  }
  return std::optional<std::string>(text);
}

absl::Status LocalStorage::SaveTimeRecord(absl::string_view record) {
  RETURN_IF_ERROR(health_.Check());
  MutexLock lock(&time_record_mutex_);
  const std::string text = absl::StrCat(kTimeRecordStore, StoreIdText(), "\n", record);
  const absl::Status status =
      ReplaceFile(options_.file_system, directory_->keys_path(), kTimeRecordName, AsBytes(text));
  // The last record still stands, and the next one comes within seconds.
  if (WroteNothing(status)) return status;
  if (!status.ok()) return health_.Fail("saving the clock's record", status.message());
  return absl::OkStatus();
}

absl::Status LocalStorage::Write(rocksdb::WriteBatch* batch, absl::string_view operation) {
  const rocksdb::Status written = (*database_)->Write(rocksdb::WriteOptions(), batch);
  if (!written.ok()) return health_.Fail(operation, written.ToString());
  return absl::OkStatus();
}

absl::Status LocalStorage::Write(RowChanges* changes, absl::string_view operation) {
  RETURN_IF_ERROR(Write(&changes->batch, operation));
  if (changes->released.empty()) return absl::OkStatus();
  MutexLock lock(&released_mutex_);
  released_.insert(released_.end(), changes->released.begin(), changes->released.end());
  return absl::OkStatus();
}

}  // namespace mayfly
