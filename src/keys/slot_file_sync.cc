// Syncing slots, and recording what is synced.
#include <algorithm>

#include "base/error.h"
#include "keys/slot_file.h"

namespace mayfly {

absl::Status SlotFile::Sync() {
  RETURN_IF_ERROR(CheckUsable());
  return SyncTogether();
}

absl::Status SlotFile::RecordSynced(uint64_t sequence, uint64_t generation) {
  RETURN_IF_ERROR(CheckUsable());
  MutexLock lock(&record_mutex_);
  if (sequence <= synced_sequence_) return absl::OkStatus();
  synced_sequence_ = sequence;
  rows_generation_ = std::max(rows_generation_, generation);
  return Final(WriteRecord());
}

absl::Status SlotFile::SyncRecord() {
  RETURN_IF_ERROR(CheckUsable());
  if (!record_dirty_) return absl::OkStatus();
  dirty_ = true;
  return SyncTogether();
}

absl::Status SlotFile::ResetSyncedSequence(uint64_t synced_sequence) {
  RETURN_IF_ERROR(CheckUsable());
  {
    MutexLock lock(&record_mutex_);
    synced_sequence_ = synced_sequence;
    RETURN_IF_ERROR(Final(WriteRecord()));
  }
  return SyncRecord();
}

// One fdatasync at a time, shared by all who came before it started. Besides the saving: the kernel
// tells of a failure only once per open file, so of two simultaneous syncs one could be
// told that all is well.
absl::Status SlotFile::SyncTogether() {
  MutexLock lock(&sync_mutex_);
  const uint64_t ticket = ++syncs_requested_;
  while (syncs_done_ < ticket) {
    RETURN_IF_ERROR(CheckUsable());
    if (syncing_) {
      sync_done_.Wait(&sync_mutex_);
      continue;
    }
    syncing_ = true;
    const uint64_t covered = syncs_requested_;
    sync_mutex_.Unlock();
    const absl::Status synced = SyncOnce();
    sync_mutex_.Lock();
    syncing_ = false;
    if (synced.ok()) syncs_done_ = covered;
    sync_done_.NotifyAll();
    RETURN_IF_ERROR(synced);
  }
  return absl::OkStatus();
}

absl::Status SlotFile::SyncOnce() {
  if (!dirty_.exchange(false)) return absl::OkStatus();
  record_dirty_ = false;
  uint64_t generation = 0;
  uint64_t erasures = 0;
  {
    MutexLock lock(&mutex_);
    erasures = erased_begin_ + erased_.size();
    generation = LowestReserved();
  }
  RETURN_IF_ERROR(Final(file_->Sync()));
  if (!explains_lost_writes_) synced_generation_ = generation;
  MutexLock lock(&mutex_);
  erasures_synced_ = erasures;
  FreeErased();
  return absl::OkStatus();
}

uint64_t SlotFile::erasure_count() const {
  MutexLock lock(&mutex_);
  return erased_begin_ + erased_.size();
}

void SlotFile::RowsSynced(uint64_t erasure_count) {
  MutexLock lock(&mutex_);
  rows_synced_ = std::max(rows_synced_, erasure_count);
  FreeErased();
}

void SlotFile::FreeErased() {
  const uint64_t end =
      waits_for_rows_ ? std::min(erasures_synced_, rows_synced_) : erasures_synced_;
  for (; erased_begin_ < end; ++erased_begin_) {
    allocator_.Free(erased_.front());
    erased_.pop_front();
    --counts_.unsynced;
    ++counts_.free;
  }
}

void SlotFile::OrphansRemoved(bool all) {
  if (all) explains_lost_writes_ = false;
  MutexLock lock(&mutex_);
  // As if they were erased now: what has ended their calls may not be synced.
  erased_.insert(erased_.end(), kept_.begin(), kept_.end());
  dirty_ = dirty_ || !kept_.empty();
  kept_.clear();
}

// Only what is on the disk by now is told, so the record is true whenever it gets there itself.
absl::Status SlotFile::WriteRecord() {
  const StateRecord record{
      .counter = ++record_counter_,
      .boot_number = boot_number_,
      .synced_sequence = synced_sequence_,
      .synced_generation = std::min(synced_generation_.load(), rows_generation_),
      .capacity = synced_capacity_};
  RETURN_IF_ERROR(file_->WriteAt(OffsetOfRecord(record.counter), AsBytes(EncodeRecord(record))));
  record_dirty_ = true;
  return absl::OkStatus();
}

}  // namespace mayfly
