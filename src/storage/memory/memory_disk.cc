#include "storage/memory/memory_disk.h"

#include <utility>

namespace mayfly {

void MemoryDisk::Kill() {
  MutexLock lock(&mutex_);
  ++incarnation_;
}

void MemoryDisk::LosePower() {
  MutexLock lock(&mutex_);
  ++incarnation_;
  const uint64_t kept = unsynced_.empty() ? 0 : random_() % (unsynced_.size() + 1);
  SyncRows(synced_batches_ + kept);
  unsynced_.clear();
  rows_ = synced_rows_;
  for (const uint32_t slot : dirty_slots_) slots_[slot].LoseUnsynced(&random_);
  dirty_slots_.clear();
  record_.LoseUnsynced(&random_);
}

void MemoryDisk::DamageRow(const CallKey& key, PayloadKind kind) {
  MutexLock lock(&mutex_);
  rows_.DamageRow(key, kind);
  synced_rows_.DamageRow(key, kind);
}

void MemoryDisk::DamageTombstone(const CallKey& key) {
  MutexLock lock(&mutex_);
  rows_.DamageTombstone(key);
  synced_rows_.DamageTombstone(key);
}

void MemoryDisk::DamageDueRow(const CallKey& key, PayloadKind kind) {
  MutexLock lock(&mutex_);
  rows_.DamageDueRow(key, kind);
  synced_rows_.DamageDueRow(key, kind);
}

void MemoryDisk::DamageSlot(uint32_t slot) {
  MutexLock lock(&mutex_);
  Slot damaged = SlotAt(slot);
  damaged.kind = SlotContent::Kind::kDamaged;
  WriteSlot(slot, damaged);
}

void MemoryDisk::SyncWrittenSlots() {
  MutexLock lock(&mutex_);
  SyncSlots(slot_writes_);
}

std::vector<SlotRef> MemoryDisk::SecretsWithoutRow() {
  MutexLock lock(&mutex_);
  std::set<uint64_t> named;
  for (const auto& [key, row] : rows_.calls) named.insert(row.payload.slot.generation);
  for (const auto& [key, upload] : rows_.uploads) named.insert(upload.payload.slot.generation);
  std::vector<SlotRef> found;
  for (uint32_t slot = 0; slot < slots_.size(); ++slot) {
    for (const auto& [number, content] : slots_[slot].since) {
      if (content.kind != SlotContent::Kind::kLive || named.contains(content.generation)) continue;
      found.push_back({.slot = slot, .generation = content.generation});
    }
  }
  return found;
}

bool MemoryDisk::HasSecretOfEnded(const CallKey& key) {
  MutexLock lock(&mutex_);
  const auto tombstone = rows_.tombstones.find(key);
  if (tombstone == rows_.tombstones.end()) return false;
  for (const SlotRef ref : {tombstone->second.input, tombstone->second.output}) {
    if (ref.slot >= slots_.size()) continue;
    for (const auto& [number, content] : slots_[ref.slot].since) {
      const bool is_live = content.kind == SlotContent::Kind::kLive;
      if (is_live && content.generation == ref.generation) return true;
    }
  }
  return false;
}

void MemoryDisk::WriteRows(RowBatch batch) {
  batch.ApplyTo(&rows_);
  unsynced_.push_back(std::move(batch));
}

void MemoryDisk::SyncRows(uint64_t batch_count) {
  while (synced_batches_ < batch_count) {
    unsynced_.front().ApplyTo(&synced_rows_);
    unsynced_.pop_front();
    ++synced_batches_;
  }
}

const MemoryDisk::Slot& MemoryDisk::SlotAt(uint32_t slot) const {
  static const Slot kUnused;
  return slot < slots_.size() ? slots_[slot].current() : kUnused;
}

void MemoryDisk::WriteSlot(uint32_t slot, const Slot& content) {
  if (slot >= slots_.size()) slots_.resize(slot + 1);
  slots_[slot].Write(++slot_writes_, content);
  dirty_slots_.insert(slot);
}

void MemoryDisk::WriteRecord(const Record& record) { record_.Write(++slot_writes_, record); }

void MemoryDisk::SyncSlots(uint64_t write_number) {
  for (auto slot = dirty_slots_.begin(); slot != dirty_slots_.end();) {
    slots_[*slot].Sync(write_number);
    slot = slots_[*slot].since.size() == 1 ? dirty_slots_.erase(slot) : std::next(slot);
  }
  record_.Sync(write_number);
}

}  // namespace mayfly
