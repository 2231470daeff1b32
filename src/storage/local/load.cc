// Reading calls, rows and segments.
#include <memory>
#include <utility>

#include "base/error.h"
#include "storage/local/local_storage.h"
#include "storage/local/row_format.h"

namespace mayfly {
namespace {

// One MultiGet of many keys in one family, with its storage.
template <typename Key>
class BatchedGet {
 public:
  explicit BatchedGet(size_t count) : values_(count), statuses_(count) {
    keys_.reserve(count);
    slices_.reserve(count);
  }
  void Add(const Key& key) {
    keys_.push_back(key);
    slices_.push_back(AsSlice(keys_.back()));
  }
  void Run(const Database& database, Family family) {
    database->MultiGet(rocksdb::ReadOptions(), database.family(family), slices_.size(),
                       slices_.data(), values_.data(), statuses_.data());
  }
  const rocksdb::Status& status(size_t i) const { return statuses_[i]; }
  absl::string_view value(size_t i) const { return AsText(values_[i]); }

 private:
  std::vector<Key> keys_;
  std::vector<rocksdb::Slice> slices_;
  std::vector<rocksdb::PinnableSlice> values_;
  std::vector<rocksdb::Status> statuses_;
};

constexpr char kBadRow[] = "a row is not in the format of this program";

}  // namespace

absl::Status LocalStorage::Load(absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) {
  return LoadCalls(keys, Remember::kYes, loaded);
}

// Not remembered: by the time the index would have it, the shard's committer may have changed it.
absl::Status LocalStorage::Peek(absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) {
  return LoadCalls(keys, Remember::kNo, loaded);
}

absl::Status LocalStorage::LoadCalls(absl::Span<const CallKey> keys, Remember remember,
                                     absl::Span<LoadedCall> loaded) {
  RETURN_IF_ERROR(health_.Check());
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
    std::vector<CallRows> missed_rows(missed.size());
    std::vector<std::optional<Tombstone>> tombstones(missed.size());
    RETURN_IF_ERROR(
        ReadCalls(missed_keys, absl::MakeSpan(missed_rows), absl::MakeSpan(tombstones)));
    for (size_t i = 0; i < missed.size(); ++i) {
      rows[missed[i]] = missed_rows[i];
      loaded[missed[i]].state.tombstone = tombstones[i];
      if (remember == Remember::kNo || missed_rows[i].empty() || tombstones[i]) continue;
      index_.Store(missed_keys[i], missed_rows[i]);
    }
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    PlaceRow(rows[i].input, &loaded[i].state.input, &loaded[i].dead_input);
    PlaceRow(rows[i].output, &loaded[i].state.output, &loaded[i].dead_output);
  }
  return absl::OkStatus();
}

absl::Status LocalStorage::ReadCalls(absl::Span<const CallKey> keys, absl::Span<CallRows> rows,
                                     absl::Span<std::optional<Tombstone>> tombstones) {
  BatchedGet<CallRowKey> row_get(2 * keys.size());
  BatchedGet<TombstoneRowKey> tombstone_get(keys.size());
  for (const CallKey& key : keys) {
    row_get.Add(EncodeCallKey(key, PayloadKind::kInput));
    row_get.Add(EncodeCallKey(key, PayloadKind::kOutput));
    tombstone_get.Add(EncodeTombstoneKey(key));
  }
  row_get.Run(*database_, Family::kCalls);
  tombstone_get.Run(*database_, Family::kTombstones);
  for (size_t i = 0; i < 2 * keys.size(); ++i) {
    const rocksdb::Status& status = row_get.status(i);
    if (status.IsNotFound()) continue;
    if (!status.ok()) return FailedRead("reading rows", status);
    const std::optional<StoredPayload> payload = DecodeRowHeader(row_get.value(i));
    if (!payload) return absl::DataLossError(kBadRow);
    (i % 2 == 0 ? rows[i / 2].input : rows[i / 2].output) = payload;
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    const rocksdb::Status& status = tombstone_get.status(i);
    if (status.IsNotFound()) continue;
    if (!status.ok()) return FailedRead("reading tombstones", status);
    tombstones[i] = DecodeTombstone(tombstone_get.value(i));
    if (!tombstones[i]) return absl::DataLossError(kBadRow);
  }
  return absl::OkStatus();
}

void LocalStorage::PlaceRow(const std::optional<StoredPayload>& row,
                            std::optional<StoredPayload>* present,
                            std::optional<StoredPayload>* dead) const {
  if (!row) return;
  const SlotState state = slots_->StateOf(row->slot);
  if (state == SlotState::kNeverStored) {
    *dead = row;
    (*dead)->erased = false;  // the index may have kept it as it was before its slot was reused
    return;
  }
  *present = row;
  (*present)->erased = state == SlotState::kErased;
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
      answer = FailedRead("reading rows", status);
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
  const std::string end = EncodeSecond(until_s + 1);
  const rocksdb::Slice bound = AsSlice(end);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &bound;
  const auto rows = std::unique_ptr<rocksdb::Iterator>(
      (*database_)->NewIterator(options, database_->family(Family::kDeadlines)));
  std::vector<DuePayload> due;
  for (rows->Seek(AsSlice(first)); rows->Valid() && due.size() < limit; rows->Next()) {
    const std::optional<DuePayload> payload = DecodeDue(AsText(rows->key()), AsText(rows->value()));
    if (!payload) return absl::DataLossError(kBadRow);
    due.push_back(*payload);
  }
  if (!rows->status().ok()) return FailedRead("reading deadlines", rows->status());
  return due;
}

}  // namespace mayfly
