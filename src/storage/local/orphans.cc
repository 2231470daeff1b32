// What a crash left behind: rows whose slot is dead, slots that no row names, segments of payloads
// that were never committed. An upload that is under way is none of it.
//
// A crash explains no more than this, and the rest is evidence that stays:
//
//   rows whose slot was erased                   any: the slot itself says so
//   rows whose slot was never written            any: a synced slot is damaged and not of these
//   slots that were not known to be synced with  any: a loss of power may take their rows
//   their rows before this start
//   slots of payloads that were never stored,    any: the start has found them (segment_start.cc)
//   because their segments were not synced
//   older slots that no row names                none: a row leaves with a tombstone or another row
//                                                that names its slot, by which a start erases it
//   payloads without a row among the deadlines   none: the two are written together
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "storage/local/local_storage.h"
#include "storage/local/row_format.h"

namespace mayfly {
namespace {

// How much one iterator reads: a long one would keep RocksDB from dropping what is removed.
constexpr size_t kRowsPerStep = 4096;
constexpr uint32_t kSlotsPerStep = 1 << 16;
// Rows leave before their slots are erased. How long the search waits for that, and looks how often:
// it ends with the syncs under way.
constexpr absl::Duration kErasureWaitMax = absl::Seconds(3);
constexpr absl::Duration kErasurePause = absl::Milliseconds(20);

}  // namespace

absl::StatusOr<Orphans> LocalStorage::FindOrphans() {
  RETURN_IF_ERROR(health_.Check());
  // What is reserved from here on is none of this search's business. Of what was reserved before,
  // only slots that are live by now count: their rows were written before them, so the walk over
  // the rows below cannot miss one.
  const uint64_t generation_limit = slots_->NextGeneration();
  std::vector<bool> unnamed = LiveSlots(generation_limit);
  const uint64_t skipped_before = skipped();
  Orphans orphans;
  // Uploads first: one that is completed meanwhile gets its row before it loses this one.
  RETURN_IF_ERROR(FindUploads(&unnamed));
  RETURN_IF_ERROR(FindDeadRows(generation_limit, &unnamed, &orphans));
  // A row that could not be read may name any of them.
  orphans.is_whole = skipped() == skipped_before;
  if (!orphans.is_whole) unnamed.assign(unnamed.size(), false);
  // Listed again rather than remembered: a slot that was freed meanwhile and serves a new payload
  // has a generation above the limit.
  for (uint32_t first = 0; first < unnamed.size(); first += kSlotsPerStep) {
    for (const SlotRef slot : slots_->LiveSlotsBelow(generation_limit, first, kSlotsPerStep)) {
      if (slot.slot < unnamed.size() && unnamed[slot.slot]) orphans.slots.push_back(slot);
    }
  }
  RETURN_IF_ERROR(KeepUnexplained(&unnamed, &orphans));
  RETURN_IF_ERROR(FindDeadSegments(unnamed, &orphans));
  return orphans;
}

absl::Status LocalStorage::KeepUnexplained(std::vector<bool>* unnamed, Orphans* orphans) {
  // A loss that the operator has accepted may explain any, so none is explained before all rows were
  // looked at.
  const uint64_t recorded = options_.accept_data_loss ? UINT64_MAX : slots_->recorded_generation();
  const auto explained =
      std::partition(orphans->slots.begin(), orphans->slots.end(), [&](SlotRef slot) {
        return slot.generation >= recorded || lost_generations_.contains(slot.generation);
      });
  std::vector<SlotRef> old(explained, orphans->slots.end());
  orphans->slots.erase(explained, orphans->slots.end());
  if (old.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(KeepUndated(&old, unnamed, orphans));
  if (options_.accept_data_loss) {
    orphans->slots = std::move(old);
    return absl::OkStatus();
  }
  for (const SlotRef slot : old) (*unnamed)[slot.slot] = false;
  // Of these some may be about to be erased by whoever removed their rows.
  const absl::Time end = absl::Now() + kErasureWaitMax;
  while (true) {
    std::erase_if(old, [this](SlotRef slot) { return StateOf(slot) != SlotState::kLive; });
    if (old.empty() || absl::Now() >= end) break;
    absl::SleepFor(kErasurePause);
  }
  orphans->unnamed_slot_count = old.size();
  return absl::OkStatus();
}

// The two families may have been in different logs, of which one is lost.
absl::Status LocalStorage::KeepUndated(std::vector<SlotRef>* slots, std::vector<bool>* unnamed,
                                       Orphans* orphans) {
  absl::flat_hash_map<uint32_t, uint64_t> generations;
  for (const SlotRef slot : *slots) generations.emplace(slot.slot, slot.generation);
  const uint64_t skipped_before = skipped();
  RETURN_IF_ERROR(VisitPayloads([&](const DuePayload& payload) {
    const auto found = generations.find(payload.slot.slot);
    if (found == generations.end() || found->second != payload.slot.generation) return;
    (*unnamed)[found->first] = false;
    generations.erase(found);
    ++orphans->undated_payload_count;
  }));
  if (skipped() != skipped_before) {
    // A row that could not be read may name any of them.
    orphans->is_whole = false;
    for (const auto& [slot, generation] : generations) (*unnamed)[slot] = false;
    generations.clear();
  }
  std::erase_if(*slots, [&](SlotRef slot) { return !generations.contains(slot.slot); });
  return absl::OkStatus();
}

std::vector<bool> LocalStorage::LiveSlots(uint64_t generation_limit) {
  std::vector<bool> live(slots_->capacity());
  for (uint32_t first = 0; first < live.size(); first += kSlotsPerStep) {
    MutexLock lock(&slots_first_mutex_);
    for (const SlotRef slot : slots_->LiveSlotsBelow(generation_limit, first, kSlotsPerStep)) {
      if (slot.slot < live.size()) live[slot.slot] = true;
    }
  }
  return live;
}

absl::Status LocalStorage::FindUploads(std::vector<bool>* unnamed) {
  return ForEachUpload([&](const StoredUpload& upload) {
    const SlotRef slot = upload.payload.slot;
    if (slot.slot < unnamed->size() && StateOf(slot) == SlotState::kLive) {
      (*unnamed)[slot.slot] = false;
    }
  });
}

absl::Status LocalStorage::FindDeadRows(uint64_t generation_limit, std::vector<bool>* unnamed,
                                        Orphans* orphans) {
  std::optional<DuePayload> after;
  while (true) {
    auto rows = Due(0, kDueSecondMax, kRowsPerStep, after);
    RETURN_IF_ERROR(rows.status());
    for (const DuePayload& row : *rows) {
      if (row.slot.generation >= generation_limit) continue;
      const SlotState state = StateOf(row.slot);
      if (state == SlotState::kDamaged) {
        slots_->Quarantine(row.slot);
        ++orphans->damaged_row_count;
      } else if (state != SlotState::kLive) {
        orphans->rows.push_back(row);
      } else if (row.slot.slot < unnamed->size()) {
        (*unnamed)[row.slot.slot] = false;
      }
    }
    if (rows->size() < kRowsPerStep) return absl::OkStatus();
    after = rows->back();
  }
}

absl::Status LocalStorage::FindDeadSegments(const std::vector<bool>& unnamed, Orphans* orphans) {
  // Batches of this boot may be under way: their slots are reserved and not live yet.
  const uint64_t generation_limit = FirstGenerationOf(boot_number());
  const auto is_dead = [&](SlotRef slot) {
    if (slot.generation >= generation_limit) return false;
    const SlotState state = StateOf(slot);
    if (state == SlotState::kDamaged) return false;
    if (state != SlotState::kLive) return true;
    return slot.slot < unnamed.size() && unnamed[slot.slot];
  };
  std::string next;
  while (true) {
    RowWalk rows(*database_, Family::kSegments, next);
    for (size_t steps = 0; rows.Valid() && steps < kRowsPerStep; rows.Seek(next), ++steps) {
      const auto segment = DecodeSegmentKey(rows.key());
      if (!segment) return absl::DataLossError("a segment's key is not in our format");
      const SegmentsRef& segments = segment->first;
      if (is_dead(segments.slot)) orphans->segments.push_back(segments);
      // Over all segments of the payload.
      next = std::string(AsText(EncodeSegmentKey(segments.key, segments.slot, UINT32_MAX))) + '\0';
    }
    RETURN_IF_ERROR(EndWalk("reading segments", rows));
    if (!rows.Valid()) return absl::OkStatus();
  }
}

absl::Status LocalStorage::RemoveOrphans(uint32_t shard, const Orphans& orphans,
                                         absl::Span<const TenantUsage> usage) {
  RETURN_IF_ERROR(health_.Check());
  if (!orphans.slots.empty()) {
    // A slot whose row was removed just now looks like an orphan: its removal must be durable
    // first.
    RETURN_IF_ERROR(Sync());
    RETURN_IF_ERROR(Erase(orphans.slots));
  }
  RowChanges changes;
  for (const DuePayload& row : orphans.rows) RETURN_IF_ERROR(RemoveDeadRow(row, &changes));
  for (const SegmentsRef& segments : orphans.segments) {
    RETURN_IF_ERROR(RemoveDeadSegments(segments, &changes));
  }
  for (const TenantUsage& tenant : usage) {
    changes.batch.Put(database_->family(Family::kUsage), EncodeUsageKey(shard, tenant.tenant),
                      EncodeUsage(tenant));
  }
  return changes.batch.Count() > 0 ? Write(&changes, "removing orphans") : absl::OkStatus();
}

absl::Status LocalStorage::RemoveDeadRow(const DuePayload& due, RowChanges* changes) {
  if (!IsDead(due.slot)) return absl::OkStatus();
  const DueRowKey due_key = EncodeDueKey(due);
  rocksdb::PinnableSlice value;
  const rocksdb::Status found =
      (*database_)
          ->Get(rocksdb::ReadOptions(), database_->family(Family::kDeadlines), AsSlice(due_key),
                &value);
  if (found.IsNotFound()) return absl::OkStatus();
  if (!found.ok()) return FailedRead("reading deadlines", found);
  const std::optional<DuePayload> current = DecodeDue(AsText(due_key), AsText(value));
  if (!current || current->slot != due.slot) return absl::OkStatus();

  ReadCall call = std::move(ReadCalls({&due.key, 1})[0]);
  auto& row = due.kind == PayloadKind::kInput ? call.rows.input : call.rows.output;
  // The payload's row comes and goes with the due row, so it is there, and need not be read to be
  // removed. Its segments are found when nothing but damage is left to hold them.
  if (absl::IsDataLoss(call.status)) {
    row = StoredPayload{.slot = due.slot, .deadline_ms = due.due_s * 1000};
  } else if (!call.status.ok()) {
    return absl::OkStatus();
  }
  if (!row || row->slot != due.slot) return absl::OkStatus();
  RemoveRowIn(due.key, due.kind, *row, changes);
  index_.Remove(due.key);
  return absl::OkStatus();
}

absl::Status LocalStorage::RemoveDeadSegments(const SegmentsRef& segments, RowChanges* changes) {
  return IsDead(segments.slot) ? RemoveSegmentsFrom(segments, 0, changes) : absl::OkStatus();
}

bool LocalStorage::IsDead(SlotRef slot) const {
  const SlotState state = StateOf(slot);
  return state == SlotState::kErased || state == SlotState::kNeverStored;
}

}  // namespace mayfly
