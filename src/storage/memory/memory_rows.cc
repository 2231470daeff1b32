#include "storage/memory/memory_rows.h"

namespace mayfly {
void MemoryRows::StoreRow(const CallKey& key, PayloadKind kind, MemoryRow row) {
  RemoveRow(key, kind);
  const DuePayload payload_due = DueOf(key, kind, row.payload);
  due.insert_or_assign(KeyOf(payload_due), payload_due);
  calls.insert_or_assign({key, kind}, std::move(row));
}

void MemoryRows::RemoveRow(const CallKey& key, PayloadKind kind) {
  const auto found = calls.find({key, kind});
  if (found == calls.end()) return;
  const StoredPayload& payload = found->second.payload;
  const DueKey due_key = KeyOf(DueOf(key, kind, payload));
  due.erase(due_key);
  damaged_due.erase(due_key);
  damaged_calls.erase({key, kind});
  RemoveSegments(key, payload.slot, payload.segment_count);
  calls.erase(found);
}

void MemoryRows::RemoveSegments(const CallKey& key, SlotRef slot, uint32_t count) {
  const auto found = segments.find(KeyOf(key, slot));
  if (found == segments.end()) return;
  found->second.erase(found->second.begin(), found->second.lower_bound(count));
  if (found->second.empty()) segments.erase(found);
}

void MemoryRows::DamageRow(const CallKey& key, PayloadKind kind) {
  if (calls.contains({key, kind})) damaged_calls.insert({key, kind});
}

void MemoryRows::DamageDueRow(const CallKey& key, PayloadKind kind) {
  const MemoryRow* const row = Find(key, kind);
  if (row != nullptr) damaged_due.insert(KeyOf(DueOf(key, kind, row->payload)));
}

void MemoryRows::DamageTombstone(const CallKey& key) {
  if (tombstones.contains(key)) damaged_tombstones.insert(key);
}

const MemoryRow* MemoryRows::Find(const CallKey& key, PayloadKind kind) const {
  const auto found = calls.find({key, kind});
  return found == calls.end() ? nullptr : &found->second;
}

}  // namespace mayfly
