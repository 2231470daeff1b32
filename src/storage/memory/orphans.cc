// Finds the remains of a crash: see storage/local/orphans.cc, which says how much a crash explains.
#include <algorithm>
#include <set>
#include <utility>

#include "base/error.h"
#include "storage/memory/memory_storage.h"

namespace mayfly {

absl::StatusOr<Orphans> MemoryStorage::FindOrphans() {
  const absl::Status asked = Ask(DiskOperation::kReadDue);
  MutexLock lock(&disk_.mutex_);
  RETURN_IF_ERROR(CheckHealth());
  RETURN_IF_ERROR(asked);
  const MemoryRows& rows = disk_.rows_;
  const uint64_t generation_limit = secrets_->NextGeneration();
  Orphans orphans;
  // Generations that a row or an upload names, or something that leaves: that is erased soon.
  std::set<uint64_t> named;
  std::set<uint64_t> leaving;
  for (const auto& [key, upload] : rows.uploads) named.insert(upload.payload.slot.generation);
  for (const SlotRef slot : rows.named_slots) leaving.insert(slot.generation);
  for (const auto& [key, tombstone] : rows.tombstones) {
    leaving.insert({tombstone.input.generation, tombstone.output.generation});
  }
  orphans.is_whole = rows.damaged_due.empty();
  skipped_ += rows.damaged_due.size();
  for (const auto& [key, row] : rows.due) {
    const SlotState state = secrets_->StateOf(row.slot);
    named.insert(row.slot.generation);
    if (rows.damaged_due.contains(key) || row.slot.generation >= generation_limit) continue;
    if (state == SlotState::kDamaged) {
      secrets_->Quarantine(row.slot);
      ++orphans.damaged_row_count;
    } else if (state != SlotState::kLive) {
      orphans.rows.push_back(row);
    }
  }
  if (orphans.is_whole) {
    for (const SlotRef slot : secrets_->LiveSlotsBelow(generation_limit)) {
      if (named.contains(slot.generation)) continue;
      if (slot.generation >= secrets_->recorded_generation()) {
        orphans.slots.push_back(slot);
      } else if (!leaving.contains(slot.generation)) {
        ++orphans.unnamed_slot_count;
      }
    }
  }
  FindDeadSegments(&orphans);
  return orphans;
}

// Not those of this boot: they may be under way, their slots reserved and not written.
void MemoryStorage::FindDeadSegments(Orphans* orphans) const {
  for (const auto& [place, numbers] : disk_.rows_.segments) {
    const SlotRef slot = {.slot = place.slot, .generation = place.generation};
    if (slot.generation >= secrets_->FirstGeneration()) continue;
    const bool is_orphan =
        std::find(orphans->slots.begin(), orphans->slots.end(), slot) != orphans->slots.end();
    if (IsDead(slot) || is_orphan) orphans->segments.push_back({.key = place.key, .slot = slot});
  }
}

absl::Status MemoryStorage::RemoveOrphans(uint32_t shard, const Orphans& orphans,
                                          absl::Span<const TenantUsage> usage) {
  RETURN_IF_ERROR(CheckShard(shard));
  if (!orphans.slots.empty()) {
    // A slot whose row was removed just now looks like an orphan: its removal must be durable
    // first.
    RETURN_IF_ERROR(Sync());
    RETURN_IF_ERROR(Erase(orphans.slots));
  }
  RowBatch batch = BatchOf(shard, {}, usage);
  {
    MutexLock lock(&disk_.mutex_);
    for (const DuePayload& row : orphans.rows) {
      const MemoryRow* const found = disk_.rows_.Find(row.key, row.kind);
      if (found == nullptr || found->payload.slot != row.slot || !IsDead(row.slot)) continue;
      batch.Add([key = row.key, kind = row.kind](MemoryRows* rows) { rows->RemoveRow(key, kind); });
    }
    for (const SegmentsRef& segments : orphans.segments) {
      if (!IsDead(segments.slot)) continue;
      batch.Add([place = MemoryRows::KeyOf(segments.key, segments.slot)](MemoryRows* rows) {
        rows->segments.erase(place);
      });
    }
  }
  return batch.empty() ? absl::OkStatus() : WriteRows(std::move(batch));
}

bool MemoryStorage::IsDead(SlotRef slot) const {
  const SlotState state = secrets_->StateOf(slot);
  return state == SlotState::kErased || state == SlotState::kNeverStored;
}

}  // namespace mayfly
