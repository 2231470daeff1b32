// Reading calls, rows and segments.
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "storage/local/batched_get.h"
#include "storage/local/local_storage.h"
#include "storage/local/row_format.h"

namespace mayfly {
namespace {

// How much one iterator reads: a long one would keep RocksDB from dropping what is removed.
constexpr size_t kRowsPerPage = 1024;

}  // namespace

void LocalStorage::Load(absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) {
  LoadCalls(keys, Remember::kYes, loaded);
}

// Not remembered: by the time the index would have it, the shard's committer may have changed it.
void LocalStorage::Peek(absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) {
  LoadCalls(keys, Remember::kNo, loaded);
}

void LocalStorage::LoadCalls(absl::Span<const CallKey> keys, Remember remember,
                             absl::Span<LoadedCall> loaded) {
  if (const absl::Status health = health_.Check(); !health.ok()) {
    for (LoadedCall& call : loaded) call.status = health;
    return;
  }
  std::vector<CallRows> rows(keys.size());
  std::vector<size_t> missed;
  std::vector<CallKey> missed_keys;
  for (size_t i = 0; i < keys.size(); ++i) {
    loaded[i] = LoadedCall();
    if (const std::optional<CallRows> known = index_.Find(keys[i])) {
      rows[i] = *known;
      continue;
    }
    missed.push_back(i);
    missed_keys.push_back(keys[i]);
  }
  if (!missed.empty()) {
    std::vector<ReadCall> read = ReadCalls(missed_keys);
    for (size_t i = 0; i < missed.size(); ++i) {
      LoadedCall& call = loaded[missed[i]];
      call.status = std::move(read[i].status);
      if (!call.status.ok()) continue;
      rows[missed[i]] = read[i].rows;
      call.state.tombstone = read[i].tombstone;
      if (remember == Remember::kNo || read[i].rows.empty() || read[i].tombstone) continue;
      index_.Store(missed_keys[i], read[i].rows);
    }
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    PlaceRow(rows[i].input, &loaded[i].state.input, &loaded[i].dead_input);
    PlaceRow(rows[i].output, &loaded[i].state.output, &loaded[i].dead_output);
  }
}

// A tombstone that cannot be read is not "no tombstone": the call has a status and nothing else.
std::vector<LocalStorage::ReadCall> LocalStorage::ReadCalls(absl::Span<const CallKey> keys) {
  BatchedGet<CallRowKey> row_get(2 * keys.size());
  BatchedGet<TombstoneRowKey> tombstone_get(keys.size());
  for (const CallKey& key : keys) {
    row_get.Add(EncodeCallKey(key, PayloadKind::kInput));
    row_get.Add(EncodeCallKey(key, PayloadKind::kOutput));
    tombstone_get.Add(EncodeTombstoneKey(key));
  }
  row_get.Run(*database_, Family::kCalls);
  tombstone_get.Run(*database_, Family::kTombstones);
  std::vector<ReadCall> calls(keys.size());
  for (size_t i = 0; i < 2 * keys.size(); ++i) {
    const rocksdb::Status& status = row_get.status(i);
    if (status.IsNotFound()) continue;
    ReadCall& call = calls[i / 2];
    if (!status.ok()) {
      call.status = FailedRead("reading rows", status, &keys[i / 2]);
      continue;
    }
    const std::optional<StoredPayload> payload = DecodeRowHeader(row_get.value(i));
    if (!payload) call.status = BadRow("reading rows", &keys[i / 2]);
    (i % 2 == 0 ? call.rows.input : call.rows.output) = payload;
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    const rocksdb::Status& status = tombstone_get.status(i);
    if (status.IsNotFound()) continue;
    if (!status.ok()) {
      calls[i].status = FailedRead("reading tombstones", status, &keys[i]);
      continue;
    }
    calls[i].tombstone = DecodeTombstone(tombstone_get.value(i));
    if (!calls[i].tombstone) calls[i].status = BadRow("reading tombstones", &keys[i]);
  }
  return calls;
}

void LocalStorage::PlaceRow(const std::optional<StoredPayload>& row,
                            std::optional<StoredPayload>* present,
                            std::optional<StoredPayload>* dead) const {
  if (!row) return;
  const SlotState state = StateOf(row->slot);
  if (state == SlotState::kNeverStored) {
    *dead = row;
    // The index may have kept it as it was before its slot was reused.
    (*dead)->erased = (*dead)->damaged = false;
    return;
  }
  *present = row;
  // Whatever its slot holds, nobody can open it after its second.
  (*present)->erased = state == SlotState::kErased || keyring_->IsClosed(SecondOf(*row));
  (*present)->damaged = state == SlotState::kDamaged && !(*present)->erased;
  if ((*present)->damaged) {
    health_.Alarm("looking at slots", absl::StrCat("slot ", row->slot.slot,
                                                   " of keys/slots does not hold what was stored"));
  }
}

std::vector<absl::StatusOr<Sealed>> LocalStorage::ReadRows(absl::Span<const PayloadRef> refs) {
  std::vector<absl::StatusOr<Sealed>> answers;
  if (const absl::Status health = health_.Check(); !health.ok()) {
    answers.assign(refs.size(), health);
    return answers;
  }
  answers.reserve(refs.size());
  std::vector<size_t> missed;
  for (size_t i = 0; i < refs.size(); ++i) {
    std::optional<Sealed> cached = row_cache_.Find(refs[i].slot);
    if (!cached) missed.push_back(i);
    answers.push_back(cached ? *std::move(cached) : Sealed());
  }
  if (missed.empty()) return answers;

  BatchedGet<CallRowKey> rows(missed.size());
  for (const size_t i : missed) rows.Add(EncodeCallKey(refs[i].key, refs[i].kind));
  rows.Run(*database_, Family::kCalls);
  for (size_t n = 0; n < missed.size(); ++n) {
    absl::StatusOr<Sealed>& answer = answers[missed[n]];
    const rocksdb::Status& status = rows.status(n);
    if (!status.ok() && !status.IsNotFound()) {
      answer = FailedRead("reading rows", status, &refs[missed[n]].key);
      continue;
    }
    const std::optional<StoredPayload> payload =
        status.ok() ? DecodeRowHeader(rows.value(n)) : std::nullopt;
    if (!payload || payload->slot != refs[missed[n]].slot) {
      answer = absl::NotFoundError("the row is gone");
      continue;
    }
    answer = Sealed::CopyOf(AsBytes(rows.value(n).substr(kRowHeaderSize)));
  }
  return answers;
}

absl::StatusOr<std::vector<DuePayload>> LocalStorage::Due(int64_t from_s, int64_t until_s,
                                                          size_t limit,
                                                          const std::optional<DuePayload>& after) {
  RETURN_IF_ERROR(health_.Check());
  std::string first = EncodeSecond(from_s);
  if (after) {
    // The next key after the cursor's.
    first = std::string(AsText(EncodeDueKey(*after))) + '\0';
  }
  RowWalk rows(*database_, Family::kDeadlines, first, EncodeSecond(until_s + 1));
  std::vector<DuePayload> due;
  for (; rows.Valid() && due.size() < limit; rows.Next()) {
    const std::optional<DuePayload> payload = DecodeDue(rows.key(), rows.value());
    if (!payload) {
      // What it would say, the hourly round reads from the payload's own row.
      skipped_.fetch_add(1, std::memory_order_relaxed);
      (void)BadRow("reading deadlines");
      continue;
    }
    due.push_back(*payload);
  }
  RETURN_IF_ERROR(EndWalk("reading deadlines", rows));
  return due;
}

absl::Status LocalStorage::VisitPayloads(absl::FunctionRef<void(const DuePayload&)> visit) {
  std::string from;
  while (true) {
    RETURN_IF_ERROR(health_.Check());
    std::vector<DuePayload> page;
    {
      RowWalk rows(*database_, Family::kCalls, from);
      size_t count = 0;
      for (; rows.Valid() && count < kRowsPerPage; rows.Next(), ++count) {
        const auto key = DecodeCallKey(rows.key());
        const std::optional<StoredPayload> payload = DecodeRowHeader(rows.value());
        if (!key || !payload) {
          skipped_.fetch_add(1, std::memory_order_relaxed);
          (void)BadRow("reading rows");
          continue;
        }
        page.push_back(DueOf(key->first, key->second, *payload));
      }
      RETURN_IF_ERROR(EndWalk("reading rows", rows));
      from = rows.Valid() ? std::string(rows.key()) : "";
    }
    for (const DuePayload& payload : page) visit(payload);
    if (from.empty()) return absl::OkStatus();
  }
}

}  // namespace mayfly
