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
  {
    MutexLock lock(&mutex_);
    syncing_slots_.swap(unsynced_);
    generation = LowestReserved();
  }
  RETURN_IF_ERROR(Final(file_->Sync()));
  if (!explains_lost_writes_) synced_generation_ = generation;
  MutexLock lock(&mutex_);
  for (uint32_t slot : syncing_slots_) allocator_.Free(slot);
  counts_.unsynced -= syncing_slots_.size();
  counts_.free += syncing_slots_.size();
  syncing_slots_.clear();
  return absl::OkStatus();
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
