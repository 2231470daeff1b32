#include "storage/memory/memory_storage.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "base/error.h"
#include "storage/storage_error.h"

namespace mayfly {
namespace {

constexpr char kKeyDirectory[] = "keys";
constexpr absl::Duration kReadRetry = absl::Seconds(1);
// As long as local storage may keep a tombstone longer than it has to.
constexpr int64_t kTombstoneGraceMs = int64_t{3600} * 1000;

absl::Status StorageDown() {
  return WithKind(MakeError(absl::StatusCode::kUnavailable, Reason::kStorageDown,
                            "storage is down after a failed write or sync, a restart recovers it"),
                  StorageErrorKind::kFailed);
}

absl::Status ReadFailed() {
  const absl::Status unread =
      WithRetryDelay(MakeError(absl::StatusCode::kUnavailable, Reason::kStorageDown,
                               "the disk failed to read what is stored of the call"),
                     kReadRetry);
  return WithKind(unread, StorageErrorKind::kUnreadable);
}

absl::Status RowDamaged() {
  return WithKind(MakeError(absl::StatusCode::kDataLoss, Reason::kAuthenticationFailed,
                            "what is stored of the call is damaged"),
                  StorageErrorKind::kUnreadable);
}

}  // namespace

// ---- Start

absl::StatusOr<std::unique_ptr<MemoryStorage>> MemoryStorage::Open(MemoryStorageOptions options) {
  auto storage = std::unique_ptr<MemoryStorage>(new MemoryStorage(std::move(options)));
  RETURN_IF_ERROR(storage->Start());
  return storage;
}

MemoryStorage::MemoryStorage(MemoryStorageOptions options)
    : options_(std::move(options)), disk_(*options_.disk), room_(RoomLimits{}) {
  SetRoom(options_.room_bytes);
}

absl::Status MemoryStorage::Start() {
  MemoryFileSystem* const files = &disk_.files_;
  auto keyring =
      Keyring::Exists(files, kKeyDirectory)
          ? Keyring::Open(files, kKeyDirectory, options_.root_key)
          : Keyring::Create(files, kKeyDirectory, options_.root_key, StoreId{}, options_.now_ms);
  RETURN_IF_ERROR(keyring.status());
  keyring_ = *std::move(keyring);
  RETURN_IF_ERROR(Ask(DiskOperation::kWriteRecord));
  {
    MutexLock lock(&disk_.mutex_);
    for (uint32_t slot = 0; slot < disk_.slots_.size(); ++slot) {
      if (disk_.SlotAt(slot).kind == SlotContent::Kind::kDamaged) {
        return absl::DataLossError(absl::StrCat("data loss: slot ", slot, " is damaged"));
      }
    }
    incarnation_ = ++disk_.incarnation_;
    secrets_ = std::make_unique<MemorySecrets>(&disk_);
    boot_number_ = secrets_->boot_number();
  }
  // No generation is given again, also when this is lost later.
  RETURN_IF_ERROR(SyncSlots(SlotSync::kSlots));
  // A killed process may have left its last rows unsynced: they stay before what they name is erased.
  RETURN_IF_ERROR(Sync());
  RETURN_IF_ERROR(EraseNamedSlots());
  return Sync();
}

absl::Status MemoryStorage::EraseNamedSlots() {
  std::vector<SlotRef> named;
  {
    MutexLock lock(&disk_.mutex_);
    named = disk_.rows_.named_slots;
    for (const auto& [key, tombstone] : disk_.rows_.tombstones) {
      named.push_back(tombstone.input);
      named.push_back(tombstone.output);
    }
    std::erase_if(named,
                  [this](SlotRef slot) { return secrets_->StateOf(slot) != SlotState::kLive; });
  }
  return named.empty() ? absl::OkStatus() : Erase(named);
}

// ---- Steps

absl::Status MemoryStorage::Ask(DiskOperation operation) const {
  return options_.on_operation ? options_.on_operation(operation) : absl::OkStatus();
}

absl::Status MemoryStorage::CheckHealth() const {
  const bool is_over = failed_ || incarnation_ != disk_.incarnation_;
  return is_over ? StorageDown() : absl::OkStatus();
}

absl::Status MemoryStorage::Health() const {
  MutexLock lock(&disk_.mutex_);
  return CheckHealth();
}

MemoryStorage::Step MemoryStorage::Begin(DiskOperation operation, const absl::Status& asked) {
  if (absl::Status health = CheckHealth(); !health.ok()) return {.status = std::move(health)};
  if (asked.ok()) return {};
  if (!ChangesDisk(operation)) return {.status = asked};
  failed_ = true;
  return {.status = StorageDown(), .may_do_part = true};
}

absl::Status MemoryStorage::WriteRows(RowBatch batch) {
  const absl::Status asked = Ask(DiskOperation::kWriteRows);
  MutexLock lock(&disk_.mutex_);
  Step step = Begin(DiskOperation::kWriteRows, asked);
  if (step.status.ok() || (step.may_do_part && disk_.Coin())) disk_.WriteRows(std::move(batch));
  return step.status;
}

absl::Status MemoryStorage::WriteSlots(absl::Span<const SlotWrite> writes) {
  if (writes.empty()) return absl::OkStatus();
  const absl::Status asked = Ask(DiskOperation::kWriteSlots);
  MutexLock lock(&disk_.mutex_);
  Step step = Begin(DiskOperation::kWriteSlots, asked);
  for (const SlotWrite& write : writes) {
    if (step.status.ok() || (step.may_do_part && disk_.Coin())) secrets_->Write(write);
  }
  return step.status;
}

absl::Status MemoryStorage::Erase(absl::Span<const SlotRef> slots) {
  if (slots.empty()) return Health();
  const absl::Status asked = Ask(DiskOperation::kWriteSlots);
  MutexLock lock(&disk_.mutex_);
  Step step = Begin(DiskOperation::kWriteSlots, asked);
  for (const SlotRef slot : slots) {
    if (step.status.ok() || (step.may_do_part && disk_.Coin())) secrets_->Erase(slot);
  }
  return step.status;
}

// A crash afterwards decides what of a failed sync has reached the disk.
absl::Status MemoryStorage::SyncRows(uint64_t batch_count) {
  const absl::Status asked = Ask(DiskOperation::kSyncRows);
  MutexLock lock(&disk_.mutex_);
  const Step step = Begin(DiskOperation::kSyncRows, asked);
  if (step.status.ok()) disk_.SyncRows(batch_count);
  return step.status;
}

absl::Status MemoryStorage::SyncSlots(SlotSync wanted) {
  MemorySecrets::SyncMark mark;
  {
    MutexLock lock(&disk_.mutex_);
    RETURN_IF_ERROR(CheckHealth());
    const bool is_dirty =
        wanted == SlotSync::kRecord ? secrets_->record_is_dirty() : secrets_->is_dirty();
    if (!is_dirty) return absl::OkStatus();
    mark = secrets_->MarkSync();
  }
  const absl::Status asked = Ask(DiskOperation::kSyncSlots);
  MutexLock lock(&disk_.mutex_);
  const Step step = Begin(DiskOperation::kSyncSlots, asked);
  if (!step.status.ok()) return step.status;
  disk_.SyncSlots(mark.slot_writes);
  secrets_->OnSynced(mark);
  return absl::OkStatus();
}

absl::Status MemoryStorage::RecordRows(uint64_t generation) {
  const absl::Status asked = Ask(DiskOperation::kWriteRecord);
  MutexLock lock(&disk_.mutex_);
  const Step step = Begin(DiskOperation::kWriteRecord, asked);
  if (step.status.ok() || (step.may_do_part && disk_.Coin())) secrets_->RecordRows(generation);
  return step.status;
}

// ---- Syncs

absl::Status MemoryStorage::Sync() {
  uint64_t batch_count = 0;
  uint64_t generation = 0;
  uint64_t slot_writes = 0;
  bool rows_are_dirty = false;
  {
    MutexLock lock(&disk_.mutex_);
    RETURN_IF_ERROR(CheckHealth());
    // The slots below it have their rows written, unless some are written ahead of them just now.
    generation = slots_first_count_ > 0 ? 0 : secrets_->WrittenGeneration();
    batch_count = disk_.written_batches();
    rows_are_dirty = batch_count > disk_.synced_batches_;
    // Rows leave before their slots are erased, so the batches have what removed them.
    slot_writes = disk_.slot_writes();
  }
  // Together on a real disk: which is first is the disk's.
  bool slots_first = false;
  {
    MutexLock lock(&disk_.mutex_);
    slots_first = disk_.Coin();
  }
  if (slots_first) RETURN_IF_ERROR(SyncSlots(SlotSync::kSlots));
  if (rows_are_dirty) RETURN_IF_ERROR(SyncRows(batch_count));
  if (!slots_first) RETURN_IF_ERROR(SyncSlots(SlotSync::kSlots));
  if (rows_are_dirty) RETURN_IF_ERROR(RecordRows(generation));
  MutexLock lock(&disk_.mutex_);
  secrets_->RowsSynced(slot_writes);
  return absl::OkStatus();
}

absl::Status MemoryStorage::SyncErasures() { return SyncSlots(SlotSync::kSlots); }

absl::Status MemoryStorage::SyncRecord() { return SyncSlots(SlotSync::kRecord); }

// ---- Secrets

absl::StatusOr<std::vector<SlotLease>> MemoryStorage::ReserveSlots(size_t count) {
  const absl::Status asked = Ask(DiskOperation::kGrow);
  MutexLock lock(&disk_.mutex_);
  RETURN_IF_ERROR(Begin(DiskOperation::kGrow, asked).status);
  return secrets_->Reserve(count);
}

void MemoryStorage::ReturnSlots(absl::Span<const SlotRef> slots) {
  MutexLock lock(&disk_.mutex_);
  // The next start has given all of them to others.
  if (incarnation_ == disk_.incarnation_) secrets_->Return(slots);
}

SlotState MemoryStorage::StateOf(SlotRef slot) const {
  MutexLock lock(&disk_.mutex_);
  return secrets_->StateOf(slot);
}

absl::StatusOr<SecretBytes> MemoryStorage::ReadSecret(SlotRef slot) const {
  const absl::Status asked = Ask(DiskOperation::kReadSlot);
  MutexLock lock(&disk_.mutex_);
  RETURN_IF_ERROR(CheckHealth());
  if (!asked.ok()) return ReadFailed();
  auto secret = secrets_->ReadSecret(slot);
  if (!secret.ok()) return WithKind(secret.status(), StorageErrorKind::kUnreadable);
  return secret;
}

// ---- Reads

void MemoryStorage::Load(absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) {
  for (size_t i = 0; i < keys.size(); ++i) {
    loaded[i] = LoadedCall();
    const absl::Status asked = Ask(DiskOperation::kReadCall);
    MutexLock lock(&disk_.mutex_);
    if (absl::Status health = CheckHealth(); !health.ok()) {
      loaded[i].status = std::move(health);
    } else if (!asked.ok()) {
      loaded[i].status = ReadFailed();
    } else {
      loaded[i] = LoadOne(keys[i]);
    }
  }
}

LoadedCall MemoryStorage::LoadOne(const CallKey& key) const {
  const MemoryRows& rows = disk_.rows_;
  LoadedCall call;
  if (rows.damaged_calls.contains({key, PayloadKind::kInput}) ||
      rows.damaged_calls.contains({key, PayloadKind::kOutput}) ||
      rows.damaged_tombstones.contains(key)) {
    call.status = RowDamaged();
    return call;
  }
  PlaceRow(rows.Find(key, PayloadKind::kInput), &call.state.input, &call.dead_input);
  PlaceRow(rows.Find(key, PayloadKind::kOutput), &call.state.output, &call.dead_output);
  const auto tombstone = rows.tombstones.find(key);
  if (tombstone != rows.tombstones.end()) call.state.tombstone = tombstone->second;
  return call;
}

void MemoryStorage::PlaceRow(const MemoryRow* row, std::optional<StoredPayload>* present,
                             std::optional<StoredPayload>* dead) const {
  if (row == nullptr) return;
  const SlotState state = secrets_->StateOf(row->payload.slot);
  std::optional<StoredPayload>& placed = state == SlotState::kNeverStored ? *dead : *present;
  placed = row->payload;
  if (state == SlotState::kNeverStored) return;
  placed->erased = state == SlotState::kErased || keyring_->IsClosed(SecondOf(row->payload));
  placed->damaged = state == SlotState::kDamaged && !placed->erased;
}

std::vector<absl::StatusOr<Sealed>> MemoryStorage::ReadRows(absl::Span<const PayloadRef> refs) {
  std::vector<absl::StatusOr<Sealed>> answers;
  answers.reserve(refs.size());
  for (const PayloadRef& ref : refs) {
    const absl::Status asked = Ask(DiskOperation::kReadRow);
    MutexLock lock(&disk_.mutex_);
    const MemoryRow* const row = disk_.rows_.Find(ref.key, ref.kind);
    if (absl::Status health = CheckHealth(); !health.ok()) {
      answers.push_back(std::move(health));
    } else if (!asked.ok()) {
      answers.push_back(ReadFailed());
    } else if (disk_.rows_.damaged_calls.contains({ref.key, ref.kind})) {
      answers.push_back(RowDamaged());
    } else if (row == nullptr || row->payload.slot != ref.slot) {
      answers.push_back(absl::NotFoundError("the row is gone"));
    } else {
      answers.push_back(row->ciphertext);
    }
  }
  return answers;
}

absl::StatusOr<std::vector<DuePayload>> MemoryStorage::Due(int64_t from_s, int64_t until_s,
                                                           size_t limit,
                                                           const std::optional<DuePayload>& after) {
  const absl::Status asked = Ask(DiskOperation::kReadDue);
  MutexLock lock(&disk_.mutex_);
  RETURN_IF_ERROR(CheckHealth());
  if (!asked.ok()) return ReadFailed();
  const MemoryRows& rows = disk_.rows_;
  auto next = after ? rows.due.upper_bound(MemoryRows::KeyOf(*after))
                    : rows.due.lower_bound({.due_s = from_s});
  std::vector<DuePayload> due;
  for (; next != rows.due.end() && next->first.due_s <= until_s && due.size() < limit; ++next) {
    if (rows.damaged_due.contains(next->first)) {
      ++skipped_;
    } else {
      due.push_back(next->second);
    }
  }
  return due;
}

uint64_t MemoryStorage::skipped() const {
  MutexLock lock(&disk_.mutex_);
  return skipped_;
}

absl::Status MemoryStorage::VisitPayloads(absl::FunctionRef<void(const DuePayload&)> visit) {
  std::vector<DuePayload> payloads;
  {
    MutexLock lock(&disk_.mutex_);
    RETURN_IF_ERROR(CheckHealth());
    for (const auto& [key, row] : disk_.rows_.calls) {
      if (disk_.rows_.damaged_calls.contains(key)) {
        ++skipped_;
        continue;
      }
      payloads.push_back(DueOf(key.first, key.second, row.payload));
    }
  }
  for (const DuePayload& payload : payloads) visit(payload);
  return absl::OkStatus();
}

// ---- Room, maintenance

void MemoryStorage::SetRoom(uint64_t bytes) { room_.Update(room_.Mark(), {.free_bytes = bytes}); }

absl::Status MemoryStorage::Maintain(int64_t now_ms) {
  const int64_t keep_ms = options_.tombstone_ttl_ms_max + kTombstoneGraceMs;
  RowBatch batch;
  {
    MutexLock lock(&disk_.mutex_);
    RETURN_IF_ERROR(CheckHealth());
    for (const auto& [key, tombstone] : disk_.rows_.tombstones) {
      if (tombstone.ended_ms + keep_ms > now_ms) continue;
      batch.Add([key = key](MemoryRows* rows) {
        rows->tombstones.erase(key);
        rows->damaged_tombstones.erase(key);
      });
    }
  }
  return batch.empty() ? absl::OkStatus() : WriteRows(std::move(batch));
}

void MemoryStorage::OrphansRemoved(bool all) {
  MutexLock lock(&disk_.mutex_);
  secrets_->OrphansRemoved(all);
}

}  // namespace mayfly
