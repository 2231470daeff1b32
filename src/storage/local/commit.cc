// Committing: effects become one write batch and one write of slots.
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"

#include "base/check.h"
#include "storage/local/local_storage.h"
#include "storage/local/row_format.h"

namespace mayfly {
namespace {

// What a batch spends on a row beside its ciphertext: keys, header, due row, their framing.
constexpr size_t kBatchBytesPerChange = 512;

}  // namespace

// Builds the write batch, and keeps track of which rows it leaves behind: RocksDB forgives neither
// a second Put of a key nor a SingleDelete that finds two.
class LocalStorage::CommitBatch {
 public:
  CommitBatch(const LocalStorage* storage, size_t batch_bytes)
      : storage_(storage), changes_{.batch = rocksdb::WriteBatch(batch_bytes)} {}

  void Add(const CallChange& change) {
    Check(change.loaded != nullptr, "a change has its call as it was loaded");
    const auto [place, first] = calls_.try_emplace(change.key);
    Call& call = place->second;
    if (first) call = CallOf(*change.loaded);
    const Effects& effects = change.effects;
    replaces_live_ |= effects.store && IsLive(RowOf(*effects.store, &call));
    // A tombstone names its call's slots.
    for (const auto* removed : {&effects.remove_input, &effects.remove_output}) {
      if (removed->has_value() && !effects.tombstone) NameErasure(change.key, (*removed)->slot);
    }
    if (effects.remove_input) RemoveRow(change.key, PayloadKind::kInput, &call);
    if (effects.remove_output) RemoveRow(change.key, PayloadKind::kOutput, &call);
    if (effects.store) StoreRow(change, *effects.store, &call);
    if (effects.tombstone) {
      // Dead rows too: an ended call has none.
      RemoveRow(change.key, PayloadKind::kInput, &call);
      RemoveRow(change.key, PayloadKind::kOutput, &call);
      changes_.batch.Put(family(Family::kTombstones), AsSlice(EncodeTombstoneKey(change.key)),
                         EncodeTombstone(*effects.tombstone));
      call.has_tombstone = true;
      for (const EndedUpload& upload : change.ended_uploads) {
        changes_.batch.Delete(family(Family::kUploads),
                              EncodeUploadKey(change.key.tenant, upload.id));
        NameErasure(change.key, upload.slot);
      }
    }
  }

  void AddUsage(uint32_t shard, const TenantUsage& usage) {
    changes_.batch.Put(family(Family::kUsage), EncodeUsageKey(shard, usage.tenant),
                       EncodeUsage(usage));
  }

  RowChanges* changes() { return &changes_; }
  absl::Span<const SlotWrite> slots() const { return slots_; }
  bool replaces_live() const { return replaces_live_; }
  bool stores_segments() const {
    return std::any_of(stored_.begin(), stored_.end(),
                       [](const CallChange* change) { return change->payload.segment_count > 0; });
  }

  void UpdateCache(RowCache* cache) const {
    for (const CallChange* change : stored_) cache->Store(change->payload.slot, *change->row);
    for (const SlotRef slot : removed_) cache->Remove(slot);
  }

  void UpdateIndex(CallIndex* index) const {
    for (const auto& [key, call] : calls_) {
      if (call.has_tombstone || call.rows.empty()) {
        index->Remove(key);
      } else {
        index->Store(key, call.rows);
      }
    }
  }

 private:
  struct Call {
    CallRows rows;
    bool has_tombstone = false;
  };

  static Call CallOf(const LoadedCall& loaded) {
    Call call;
    call.rows.input = loaded.state.input ? loaded.state.input : loaded.dead_input;
    call.rows.output = loaded.state.output ? loaded.state.output : loaded.dead_output;
    call.has_tombstone = loaded.state.tombstone.has_value();
    return call;
  }

  static std::optional<StoredPayload>& RowOf(PayloadKind kind, Call* call) {
    return kind == PayloadKind::kInput ? call->rows.input : call->rows.output;
  }

  bool IsLive(const std::optional<StoredPayload>& row) const {
    return row && storage_->StateOf(row->slot) == SlotState::kLive;
  }

  // The row that is there may be an older one than the effects name, if that one died in a crash.
  void RemoveRow(const CallKey& key, PayloadKind kind, Call* call) {
    std::optional<StoredPayload>& row = RowOf(kind, call);
    if (!row) return;
    storage_->RemoveRowIn(key, kind, *row, &changes_);
    removed_.push_back(row->slot);
    row.reset();
  }

  void NameErasure(const CallKey& key, SlotRef slot) {
    storage_->NameErasureIn(key, slot, &changes_.batch);
  }

  void StoreRow(const CallChange& change, PayloadKind kind, Call* call) {
    Check(change.row != nullptr, "a change that stores has a row");
    Check((change.secret == nullptr) == (change.upload != nullptr), "its slot is written once");
    RemoveRow(change.key, kind, call);
    const CallRowKey key = EncodeCallKey(change.key, kind);
    const RowHeader header = EncodeRowHeader(change.payload);
    const rocksdb::Slice key_part = AsSlice(key);
    const rocksdb::Slice value_parts[] = {AsSlice(header), AsSlice(AsText(change.row->bytes()))};
    changes_.batch.Put(family(Family::kCalls), rocksdb::SliceParts(&key_part, 1),
                       rocksdb::SliceParts(value_parts, 2));
    const DuePayload due = DueOf(change.key, kind, change.payload);
    changes_.batch.Put(family(Family::kDeadlines), AsSlice(EncodeDueKey(due)), EncodeDueValue(due));
    stored_.push_back(&change);
    if (change.upload != nullptr) {
      changes_.batch.Delete(family(Family::kUploads),
                            EncodeUploadKey(change.key.tenant, *change.upload));
    } else {
      slots_.push_back({.ref = change.payload.slot, .secret = change.secret});
    }
    RowOf(kind, call) = change.payload;
  }

  rocksdb::ColumnFamilyHandle* family(Family family) const {
    return storage_->database_->family(family);
  }

  const LocalStorage* const storage_;
  RowChanges changes_;
  std::vector<SlotWrite> slots_;
  std::vector<const CallChange*> stored_;
  std::vector<SlotRef> removed_;
  bool replaces_live_ = false;
  absl::flat_hash_map<CallKey, Call> calls_;
};

absl::Status LocalStorage::Commit(uint32_t shard, absl::Span<const CallChange> changes,
                                  absl::Span<const TenantUsage> usage) {
  RETURN_IF_ERROR(health_.Check());
  size_t batch_bytes = usage.size() * kBatchBytesPerChange;
  for (const CallChange& change : changes) {
    batch_bytes += kBatchBytesPerChange + (change.row != nullptr ? change.row->size() : 0);
  }
  CommitBatch commit(this, batch_bytes);
  for (const CallChange& change : changes) commit.Add(change);
  for (const TenantUsage& tenant : usage) commit.AddUsage(shard, tenant);

  // Set before the rows are written, so that a sync that covers them covers their segments.
  if (commit.stores_segments()) segment_sync_wanted_ = true;
  RETURN_IF_ERROR(commit.replaces_live() ? WriteSlotsThenRows(&commit)
                                         : WriteRowsThenSlots(&commit));
  commit.UpdateIndex(&index_);
  commit.UpdateCache(&row_cache_);
  return absl::OkStatus();
}

void LocalStorage::NameErasureIn(const CallKey& key, SlotRef slot,
                                 rocksdb::WriteBatch* batch) const {
  batch->Put(database_->family(Family::kTombstones), AsSlice(EncodeErasureKey(key, slot)),
             EncodeErasure(slot));
}

// Every live slot has its row already: FindOrphans relies on it.
absl::Status LocalStorage::WriteRowsThenSlots(CommitBatch* commit) {
  RETURN_IF_ERROR(Write(commit->changes(), "writing rows"));
  return WriteSlots(commit->slots());
}

// The row that is replaced leaves in the same batch as its successor comes. Were that batch to
// survive a crash and the successor's slot or segments not, both payloads would be lost, and the first
// was acknowledged. Costs a sync, and is rare: a worker's second attempt.
absl::Status LocalStorage::WriteSlotsThenRows(CommitBatch* commit) {
  MutexLock lock(&slots_first_mutex_);
  // An error on the way is the end, so the count need not be right after it.
  ++slots_first_count_;
  RETURN_IF_ERROR(WriteSlots(commit->slots()));
  const absl::Status synced = slots_->Sync();
  if (!synced.ok()) return health_.Fail("syncing slots", synced.message());
  if (commit->stores_segments()) RETURN_IF_ERROR(segment_files_->Sync());
  RETURN_IF_ERROR(Write(commit->changes(), "writing rows"));
  --slots_first_count_;
  return absl::OkStatus();
}

absl::Status LocalStorage::WriteSlots(absl::Span<const SlotWrite> slots) {
  const absl::Status written = slots_->Write(slots);
  if (!written.ok()) return health_.Fail("writing slots", written.message());
  return absl::OkStatus();
}

void LocalStorage::RemoveRowIn(const CallKey& key, PayloadKind kind, const StoredPayload& row,
                               RowChanges* changes) const {
  changes->batch.SingleDelete(database_->family(Family::kCalls), AsSlice(EncodeCallKey(key, kind)));
  changes->batch.SingleDelete(database_->family(Family::kDeadlines),
                              AsSlice(EncodeDueKey(DueOf(key, kind, row))));
  if (row.segment_count > 0) {
    RemoveSegmentsIn({.key = key, .slot = row.slot, .count = row.segment_count}, changes);
  } else {
    room_->NoteRemovedRow(row.size_bytes);
  }
}

}  // namespace mayfly
