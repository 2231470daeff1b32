// Writing: calls, segments and uploads.
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "storage/memory/memory_storage.h"
#include "storage/storage_error.h"

namespace mayfly {
namespace {

void AddChange(const CallChange& change, RowBatch* batch) {
  const Effects& effects = change.effects;
  const CallKey key = change.key;
  for (const auto* removed : {&effects.remove_input, &effects.remove_output}) {
    // A tombstone names its call's slots.
    if (!removed->has_value() || effects.tombstone) continue;
    batch->Add([slot = (*removed)->slot](MemoryRows* rows) { rows->named_slots.push_back(slot); });
  }
  // Dead rows leave with the call: an ended one has none.
  if (effects.remove_input || effects.tombstone) {
    batch->Add([key](MemoryRows* rows) { rows->RemoveRow(key, PayloadKind::kInput); });
  }
  if (effects.remove_output || effects.tombstone) {
    batch->Add([key](MemoryRows* rows) { rows->RemoveRow(key, PayloadKind::kOutput); });
  }
  if (effects.store) {
    Check(change.row != nullptr, "a change that stores has a row");
    Check((change.secret == nullptr) == (change.upload != nullptr), "its slot is written once");
    const MemoryRow row = {.payload = change.payload, .ciphertext = *change.row};
    batch->Add(
        [key, kind = *effects.store, row](MemoryRows* rows) { rows->StoreRow(key, kind, row); });
    if (change.upload != nullptr) {
      batch->Add([upload = MemoryRows::UploadKey(key.tenant, *change.upload)](MemoryRows* rows) {
        rows->uploads.erase(upload);
      });
    }
  }
  if (!effects.tombstone) return;
  batch->Add([key, tombstone = *effects.tombstone, ended = change.ended_uploads](MemoryRows* rows) {
    rows->tombstones[key] = tombstone;
    for (const EndedUpload& upload : ended) {
      rows->uploads.erase({key.tenant, upload.id});
      rows->named_slots.push_back(upload.slot);
    }
  });
}

}  // namespace

RowBatch MemoryStorage::BatchOf(uint32_t shard, absl::Span<const CallChange> changes,
                                absl::Span<const TenantUsage> usage) const {
  RowBatch batch;
  for (const CallChange& change : changes) AddChange(change, &batch);
  for (const TenantUsage& used : usage) {
    batch.Add([shard, used](MemoryRows* rows) { rows->usage[{shard, used.tenant}] = used; });
  }
  return batch;
}

bool MemoryStorage::ReplacesLive(absl::Span<const CallChange> changes) const {
  MutexLock lock(&disk_.mutex_);
  for (const CallChange& change : changes) {
    if (!change.effects.store) continue;
    const MemoryRow* const row = disk_.rows_.Find(change.key, *change.effects.store);
    if (row != nullptr && secrets_->StateOf(row->payload.slot) == SlotState::kLive) return true;
  }
  return false;
}

// A row that is replaced leaves with the batch that brings its successor. Were that batch to survive a
// crash and the successor's slot not, both would be lost, and the first was acknowledged.
absl::Status MemoryStorage::Commit(uint32_t shard, absl::Span<const CallChange> changes,
                                   absl::Span<const TenantUsage> usage) {
  RETURN_IF_ERROR(CheckShard(shard));
  std::vector<SlotWrite> slots;
  for (const CallChange& change : changes) {
    Check(change.loaded != nullptr, "a change has its call as it was loaded");
    if (change.secret != nullptr) {
      slots.push_back({.ref = change.payload.slot, .secret = change.secret});
    }
  }
  RowBatch batch = BatchOf(shard, changes, usage);
  const Conflict conflict = AskForConflict(shard);
  if (!conflict.status.ok() && !conflict.is_done) return conflict.status;
  RETURN_IF_ERROR(WriteCommit(std::move(batch), slots, ReplacesLive(changes)));
  return conflict.status;
}

absl::Status MemoryStorage::WriteCommit(RowBatch batch, absl::Span<const SlotWrite> slots,
                                        bool slots_first) {
  if (!slots_first) {
    RETURN_IF_ERROR(WriteRows(std::move(batch)));
    return WriteSlots(slots);
  }
  {
    MutexLock lock(&disk_.mutex_);
    ++slots_first_count_;
  }
  RETURN_IF_ERROR(WriteSlots(slots));
  RETURN_IF_ERROR(SyncSlots(SlotSync::kSlots));
  RETURN_IF_ERROR(WriteRows(std::move(batch)));
  MutexLock lock(&disk_.mutex_);
  --slots_first_count_;
  return absl::OkStatus();
}

absl::Status MemoryStorage::CheckShard(uint32_t shard) const {
  MutexLock lock(&disk_.mutex_);
  RETURN_IF_ERROR(CheckHealth());
  if (!lost_shards_.contains(shard)) return absl::OkStatus();
  return WithKind(MakeError(absl::StatusCode::kUnavailable, Reason::kStorageDown,
                            "the shard has another owner"),
                  StorageErrorKind::kFenced);
}

MemoryStorage::Conflict MemoryStorage::AskForConflict(uint32_t shard) {
  const absl::Status asked = Ask(DiskOperation::kCommit);
  if (asked.ok()) return {};
  MutexLock lock(&disk_.mutex_);
  lost_shards_.insert(shard);
  const bool is_uncertain = KindOf(asked) == StorageErrorKind::kUncertain;
  return {.status = asked, .is_done = is_uncertain && disk_.Coin()};
}

// ---- Segments

absl::Status MemoryStorage::WriteSegment(const CallKey& key, SlotRef slot, uint32_t number,
                                         int64_t /*deadline_ms*/, const Sealed& segment) {
  RowBatch batch;
  batch.Add([place = MemoryRows::KeyOf(key, slot), number, segment](MemoryRows* rows) {
    rows->segments[place][number] = segment;
  });
  return WriteRows(std::move(batch));
}

absl::StatusOr<Sealed> MemoryStorage::ReadSegment(const CallKey& key, SlotRef slot,
                                                  uint32_t number) {
  const absl::Status asked = Ask(DiskOperation::kReadSegment);
  MutexLock lock(&disk_.mutex_);
  RETURN_IF_ERROR(Begin(DiskOperation::kReadSegment, asked).status);
  const auto& segments = disk_.rows_.segments;
  const auto found = segments.find(MemoryRows::KeyOf(key, slot));
  if (found == segments.end()) return absl::NotFoundError("the segment is gone");
  const auto segment = found->second.find(number);
  if (segment == found->second.end()) return absl::NotFoundError("the segment is gone");
  return segment->second;
}

absl::Status MemoryStorage::RemoveSegments(const SegmentsRef& segments) {
  RowBatch batch;
  batch.Add([segments](MemoryRows* rows) {
    rows->RemoveSegments(segments.key, segments.slot, segments.count);
  });
  return WriteRows(std::move(batch));
}

// ---- Uploads

absl::Status MemoryStorage::StoreUpload(const StoredUpload& upload, const SecretBytes& secret) {
  RowBatch batch;
  batch.Add([upload](MemoryRows* rows) { rows->uploads[{upload.key.tenant, upload.id}] = upload; });
  RETURN_IF_ERROR(WriteRows(std::move(batch)));
  const SlotWrite slot = {.ref = upload.payload.slot, .secret = &secret};
  return WriteSlots({&slot, 1});
}

absl::Status MemoryStorage::RemoveUpload(const StoredUpload& upload) {
  RETURN_IF_ERROR(Erase({&upload.payload.slot, 1}));
  RowBatch batch;
  batch.Add([upload](MemoryRows* rows) {
    rows->uploads.erase({upload.key.tenant, upload.id});
    // A loss of power may keep the removal and take the erasure.
    rows->named_slots.push_back(upload.payload.slot);
    rows->segments.erase(MemoryRows::KeyOf(upload.key, upload.payload.slot));
  });
  return WriteRows(std::move(batch));
}

absl::StatusOr<std::vector<StoredUpload>> MemoryStorage::LoadUploads() {
  std::vector<StoredUpload> live;
  RowBatch dead;
  {
    MutexLock lock(&disk_.mutex_);
    RETURN_IF_ERROR(CheckHealth());
    for (const auto& [key, upload] : disk_.rows_.uploads) {
      const SlotRef slot = upload.payload.slot;
      if (secrets_->StateOf(slot) == SlotState::kLive) live.push_back(upload);
      if (!IsDead(slot)) continue;
      dead.Add([key = key, segments = MemoryRows::KeyOf(upload.key, slot)](MemoryRows* rows) {
        rows->uploads.erase(key);
        rows->segments.erase(segments);
      });
    }
  }
  if (!dead.empty()) RETURN_IF_ERROR(WriteRows(std::move(dead)));
  return live;
}

}  // namespace mayfly
