// The rows of a MemoryStorage: plain maps, changed by batches. A pure value; not thread-safe.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "storage/rows.h"
#include "storage/segments.h"

namespace mayfly {

struct MemoryRow {
  StoredPayload payload;
  Sealed ciphertext;
};

class MemoryRows {
 public:
  using RowKey = std::pair<CallKey, PayloadKind>;
  // The order in which payloads fall due.
  struct DueKey {
    int64_t due_s = 0;
    CallKey key;
    PayloadKind kind = PayloadKind::kInput;
    friend auto operator<=>(const DueKey&, const DueKey&) = default;
  };
  struct SegmentsKey {
    CallKey key;
    uint32_t slot = 0;
    uint64_t generation = 0;
    friend auto operator<=>(const SegmentsKey&, const SegmentsKey&) = default;
  };
  using UploadKey = std::pair<TenantNumber, UploadId>;

  static DueKey KeyOf(const DuePayload& due) { return {due.due_s, due.key, due.kind}; }
  static SegmentsKey KeyOf(const CallKey& key, SlotRef slot) {
    return {key, slot.slot, slot.generation};
  }

  // A row comes with its due row, and leaves with it and with its segments.
  void StoreRow(const CallKey& key, PayloadKind kind, MemoryRow row);
  void RemoveRow(const CallKey& key, PayloadKind kind);
  void RemoveSegments(const CallKey& key, SlotRef slot, uint32_t count);

  const MemoryRow* Find(const CallKey& key, PayloadKind kind) const;
  // Does nothing when there is no such row.
  void DamageRow(const CallKey& key, PayloadKind kind);
  void DamageDueRow(const CallKey& key, PayloadKind kind);
  void DamageTombstone(const CallKey& key);

  std::map<RowKey, MemoryRow> calls;
  std::map<DueKey, DuePayload> due;
  std::map<CallKey, Tombstone> tombstones;
  // Slots that leave without a tombstone that names them.
  std::vector<SlotRef> named_slots;
  std::map<SegmentsKey, std::map<uint32_t, Sealed>> segments;  // by number
  std::map<UploadKey, StoredUpload> uploads;
  std::map<std::pair<uint32_t, TenantNumber>, TenantUsage> usage;  // by shard
  std::map<std::string, TenantRecord, std::less<>> tenants;
  std::optional<IdWindowRecord> id_window;

  // Rows that cannot be read. A mark leaves with its row.
  std::set<RowKey> damaged_calls;
  std::set<CallKey> damaged_tombstones;
  std::set<DueKey> damaged_due;
};

// Edits that are written together: a crash keeps all of them or none.
class RowBatch {
 public:
  using Edit = std::function<void(MemoryRows*)>;

  void Add(Edit edit) { edits_.push_back(std::move(edit)); }
  bool empty() const { return edits_.empty(); }
  void ApplyTo(MemoryRows* rows) const {
    for (const Edit& edit : edits_) edit(rows);
  }

 private:
  std::vector<Edit> edits_;
};

}  // namespace mayfly
