#include "storage/local/local_storage.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "keys/key_directory.h"
#include "storage/local/row_format.h"

namespace mayfly {
namespace {

constexpr char kTimeRecordName[] = "clock";
constexpr uint64_t kTimeRecordBytesMax = 4096;
constexpr size_t kEraseAgainCount = 4096;
constexpr absl::Duration kRoomCheckInterval = absl::Seconds(1);

SystemClock* MachineClock() {
  static SystemClock* const clock = new SystemClock;
  return clock;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalStorage>> LocalStorage::Open(LocalStorageOptions options) {
  if (options.file_system == nullptr) options.file_system = PosixFileSystem();
  auto storage = std::unique_ptr<LocalStorage>(new LocalStorage(std::move(options)));
  // Keys before the database: a start that is cut off anywhere leaves no data without its keys.
  RETURN_IF_ERROR(storage->OpenKeys());
  RETURN_IF_ERROR(storage->OpenDatabase());
  RETURN_IF_ERROR(storage->CheckRecovered());
  RETURN_IF_ERROR(storage->database_->CheckFormat());
  RETURN_IF_ERROR(storage->tenants_->Load());
  RETURN_IF_ERROR(storage->EraseWhatTombstonesName());
  RETURN_IF_ERROR(storage->Sync());
  return storage;
}

LocalStorage::LocalStorage(LocalStorageOptions options)
    : options_(std::move(options)),
      clock_(options_.clock != nullptr ? options_.clock : MachineClock()),
      health_(options_.log),
      index_(options_.index_calls_max),
      row_cache_(options_.row_cache_bytes),
      sync_group_([this] { return SyncBoth(); }),
      flushed_ms_(options_.now_ms),
      slot_sync_thread_("slot-sync", 1) {}

LocalStorage::~LocalStorage() = default;

absl::Status LocalStorage::OpenKeys() {
  auto directory = DataDirectory::Open(options_.data_dir, options_.file_system);
  RETURN_IF_ERROR(directory.status());
  directory_ = *std::move(directory);
  const std::string& keys = directory_->keys_path();
  RETURN_IF_ERROR(CheckKeyDirectory(keys, options_.allow_unsafe_filesystem));

  const bool has_keyring = Keyring::Exists(options_.file_system, keys);
  const bool has_slots = SlotFile::Exists(options_.file_system, keys);
  if (directory_->has_data() && !has_keyring) {
    return absl::FailedPreconditionError(
        "the keyring is missing while the database holds data: restore it, or move the whole data "
        "directory away to start empty");
  }
  if (directory_->has_data() && !has_slots) {
    return absl::FailedPreconditionError(
        "the slot file is missing while the database holds data: restore it, or move the whole "
        "data directory away to start empty");
  }
  auto keyring =
      has_keyring ? Keyring::Open(options_.file_system, keys, options_.root_key)
                  : Keyring::Create(options_.file_system, keys, options_.root_key, options_.now_ms);
  RETURN_IF_ERROR(keyring.status());
  keyring_ = *std::move(keyring);
  auto slots = has_slots ? SlotFile::Open(options_.file_system, keys)
                         : SlotFile::Create(options_.file_system, keys);
  RETURN_IF_ERROR(slots.status());
  slots_ = *std::move(slots);
  return absl::OkStatus();
}

absl::Status LocalStorage::OpenDatabase() {
  // A file is dropped when all in it is forgotten: it may have been filled for as long as a flush
  // interval before it was written.
  const int64_t file_ttl_ms = options_.tombstone_ttl_ms_max + kFlushIntervalMs;
  auto database =
      Database::Open({.directory = directory_->database_path(),
                      .sizes = {.memtable_bytes = options_.memtable_bytes,
                                .tombstone_file_ttl_s = static_cast<uint64_t>(file_ttl_ms / 1000)},
                      .file_system = options_.rocksdb_file_system,
                      .clock = options_.rocksdb_clock},
                     &health_);
  RETURN_IF_ERROR(database.status());
  database_ = *std::move(database);
  tenants_ = std::make_unique<TenantTable>(database_.get(), &health_);
  return absl::OkStatus();
}

absl::Status LocalStorage::CheckRecovered() {
  const uint64_t recovered = (*database_)->GetLatestSequenceNumber();
  const uint64_t synced = slots_->synced_sequence();
  if (recovered >= synced) return absl::OkStatus();
  const std::string text = absl::StrCat("data loss: the database recovered sequence ", recovered,
                                        ", but ", synced, " was once synced");
  health_.Log(StorageLogLevel::kError, text);
  if (options_.accept_data_loss) return slots_->ResetSyncedSequence(recovered);
  return absl::DataLossError(
      absl::StrCat(text, ": restore the data directory, or accept the loss explicitly"));
}

absl::Status LocalStorage::EraseWhatTombstonesName() {
  std::vector<SlotRef> slots;
  const auto rows = std::unique_ptr<rocksdb::Iterator>(
      (*database_)->NewIterator(rocksdb::ReadOptions(), database_->family(Family::kTombstones)));
  for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
    const std::optional<Tombstone> tombstone = DecodeTombstone(AsText(rows->value()));
    if (!tombstone) {
      return absl::DataLossError("a tombstone is not in the format of this program");
    }
    for (const SlotRef slot : {tombstone->input, tombstone->output}) {
      if (slot.generation != 0 && slots_->StateOf(slot) == SlotState::kLive) slots.push_back(slot);
    }
    if (slots.size() < kEraseAgainCount) continue;
    RETURN_IF_ERROR(slots_->Erase(slots));
    slots.clear();
  }
  if (!rows->status().ok()) return FailedRead("reading tombstones", rows->status());
  return slots_->Erase(slots);
}

absl::StatusOr<std::vector<SlotLease>> LocalStorage::ReserveSlots(size_t count) {
  RETURN_IF_ERROR(health_.Check());
  return slots_->Reserve(count);
}

void LocalStorage::ReturnSlots(absl::Span<const SlotRef> slots) { slots_->Return(slots); }

SlotState LocalStorage::StateOf(SlotRef slot) const { return slots_->StateOf(slot); }

absl::StatusOr<SecretBytes> LocalStorage::ReadSecret(SlotRef slot) const {
  RETURN_IF_ERROR(health_.Check());
  return slots_->ReadSecret(slot);
}

Keyring* LocalStorage::keyring() { return keyring_.get(); }

uint64_t LocalStorage::boot_number() const { return slots_->boot_number(); }

absl::Status LocalStorage::Sync() {
  RETURN_IF_ERROR(health_.Check());
  return sync_group_.Sync();
}

absl::Status LocalStorage::SyncErasures() {
  RETURN_IF_ERROR(health_.Check());
  return SyncSlots(0);
}

absl::Status LocalStorage::SyncBoth() {
  // Read before the log is synced, so that the log covers it.
  const uint64_t sequence = (*database_)->GetLatestSequenceNumber();
  const bool log_is_dirty = sequence != synced_sequence_;
  const uint64_t known_synced = synced_sequence_.value_or(0);
  if (log_is_dirty && slots_->is_dirty()) {
    slot_sync_thread_.Run([this, known_synced] {
      absl::Status status = SyncSlots(known_synced);
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
    // Another sync of the slots may be under way, which is waited for. The sequence is left to
    // their next sync: it is no reason for one.
    RETURN_IF_ERROR(SyncSlots(0));
    RETURN_IF_ERROR(SyncLog());
  } else {
    RETURN_IF_ERROR(SyncSlots(known_synced));
  }
  synced_sequence_ = sequence;
  // A flush that failed meanwhile is a failure of what was to be synced.
  return health_.Check();
}

absl::Status LocalStorage::SyncLog() {
  const rocksdb::Status status = (*database_)->SyncWAL();
  if (!status.ok()) return health_.Fail("syncing the log", status.ToString());
  return absl::OkStatus();
}

absl::Status LocalStorage::SyncSlots(uint64_t known_synced) {
  const absl::Status status = slots_->Sync(known_synced);
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
  const auto rows = std::unique_ptr<rocksdb::Iterator>(
      (*database_)->NewIterator(rocksdb::ReadOptions(), database_->family(Family::kUsage)));
  for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
    const auto usage = DecodeUsage(AsText(rows->key()), AsText(rows->value()));
    if (!usage) return absl::DataLossError("a usage row is not in the format of this program");
    if (shard && usage->first != *shard) continue;
    TenantUsage& sum = sums[usage->second.tenant];
    sum.tenant = usage->second.tenant;
    sum.live_calls += usage->second.live_calls;
    sum.live_bytes += usage->second.live_bytes;
  }
  if (!rows->status().ok()) return FailedRead("reading usage", rows->status());
  std::vector<TenantUsage> all;
  for (const auto& [tenant, sum] : sums) all.push_back(sum);
  return all;
}

absl::StatusOr<std::optional<std::string>> LocalStorage::LoadTimeRecord() {
  MutexLock lock(&time_record_mutex_);
  auto record = ReadFile(options_.file_system, directory_->keys_path() + "/" + kTimeRecordName,
                         kTimeRecordBytesMax);
  if (absl::IsNotFound(record.status())) return std::optional<std::string>();
  RETURN_IF_ERROR(record.status());
  return std::optional<std::string>(*std::move(record));
}

absl::Status LocalStorage::SaveTimeRecord(absl::string_view record) {
  RETURN_IF_ERROR(health_.Check());
  MutexLock lock(&time_record_mutex_);
  const absl::Status status =
      ReplaceFile(options_.file_system, directory_->keys_path(), kTimeRecordName, AsBytes(record));
  // The last record still stands, and the next one comes within seconds.
  if (WroteNothing(status)) return status;
  if (!status.ok()) return health_.Fail("saving the clock's record", status.message());
  return absl::OkStatus();
}

absl::Status LocalStorage::CheckRoomForPuts() {
  const absl::Duration now = clock_->Read().boottime;
  MutexLock lock(&room_mutex_);
  if (now - room_checked_ < kRoomCheckInterval) return room_;
  room_checked_ = now;
  uint64_t free_bytes = 0;
  const rocksdb::IOStatus status = database_->file_system()->GetFreeSpace(
      directory_->database_path(), rocksdb::IOOptions(), &free_bytes, nullptr);
  const bool had_room = room_.ok();
  room_ = absl::OkStatus();
  if (!status.ok() || free_bytes < options_.disk_reserve_bytes) {
    room_ = MakeError(absl::StatusCode::kResourceExhausted, Reason::kDiskFull,
                      status.ok() ? absl::StrCat("free disk space is ", free_bytes,
                                                 " bytes, storage.disk_reserve_bytes is ",
                                                 options_.disk_reserve_bytes)
                                  : "free disk space is not known");
  }
  if (had_room != room_.ok()) {
    health_.Log(StorageLogLevel::kWarning,
                room_.ok() ? "puts are taken again: there is room on the disk"
                           : absl::StrCat("puts are refused: ", room_.message()));
  }
  return room_;
}

absl::Status LocalStorage::Write(rocksdb::WriteBatch* batch, absl::string_view operation) {
  const rocksdb::Status written = (*database_)->Write(rocksdb::WriteOptions(), batch);
  if (!written.ok()) return health_.Fail(operation, written.ToString());
  return absl::OkStatus();
}

absl::Status LocalStorage::FailedRead(absl::string_view operation,
                                      const rocksdb::Status& status) const {
  health_.Log(StorageLogLevel::kError, absl::StrCat(operation, " failed: ", status.ToString()));
  return MakeError(absl::StatusCode::kUnavailable, Reason::kStorageDown,
                   absl::StrCat(operation, " failed"));
}

}  // namespace mayfly
