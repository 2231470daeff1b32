#include "store/shard/group.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "call/refusal.h"
#include "store/shard/durability.h"
#include "store/shard/shard.h"
#include "store/uploads.h"

namespace mayfly {
namespace {

// The rules take the payload for one that is there: if its secret is not found, it is damaged.
absl::Status Unreadable(const absl::Status& status) {
  if (!absl::IsNotFound(status)) return status;
  return MakeError(absl::StatusCode::kDataLoss, Reason::kAuthenticationFailed,
                   "the secret of the stored payload is missing");
}

void SetContent(const ContentComparer* content, Operation* operation) {
  const auto set = [content](Put* put) {
    std::visit([content](auto& each) { each.content = content; }, *put);
  };
  if (auto* put = std::get_if<PutInput>(operation)) put->content = content;
  if (auto* put = std::get_if<PutOutput>(operation)) put->content = content;
  if (auto* begin = std::get_if<BeginUpload>(operation)) set(&begin->put);
  if (auto* finish = std::get_if<FinishUpload>(operation)) set(&finish->put);
}

}  // namespace

// Compares with a payload of the same group directly, since its secret is not in its slot yet, and
// with an older one by its fingerprint. In the operation as long as it lives.
class Group::Comparer : public ContentComparer {
 public:
  Comparer(const Group& group, Request* request)
      : group_(group), content_(*request->content), operation_(&request->operation) {
    SetContent(this, operation_);
  }
  ~Comparer() override { SetContent(nullptr, operation_); }
  Comparer(const Comparer&) = delete;
  Comparer& operator=(const Comparer&) = delete;

  absl::StatusOr<bool> SameContent(const StoredPayload& stored) const override {
    if (stored.size_bytes != content_.size_bytes) return false;
    const auto found = group_.contents_.find(stored.slot.generation);
    if (found != group_.contents_.end()) return found->second->metadata == content_.metadata;
    const StoreContext& context = group_.shard_.context_;
    const auto secret = context.storage.ReadSecret(stored.slot);
    if (!secret.ok()) return Unreadable(secret.status());
    const auto fingerprint =
        context.cipher.FingerprintOf(stored, *secret, content_.metadata, content_.size_bytes);
    // Its second was closed after it was loaded.
    if (absl::IsNotFound(fingerprint.status())) return EndedError(EndReason::kExpired);
    RETURN_IF_ERROR(fingerprint.status());
    return *fingerprint == stored.fingerprint;
  }

 private:
  const Group& group_;
  const PutContent& content_;
  Operation* const operation_;
};

// ---- Load

void Group::Load(absl::Span<const CallKey> keys) {
  std::vector<CallKey> missing;
  for (const CallKey& key : keys) {
    const auto [entry, is_new] = entries_.try_emplace(key, nullptr);
    if (!is_new) continue;
    entry->second = std::make_unique<Entry>();
    missing.push_back(key);
  }
  if (missing.empty()) return;
  std::vector<LoadedCall> loaded(missing.size());
  shard_.context_.storage.Load(missing, absl::MakeSpan(loaded));
  for (size_t i = 0; i < missing.size(); ++i) {
    Entry& entry = *entries_[missing[i]];
    entry.loaded = std::move(loaded[i]);
    entry.state = entry.loaded.state;
    entry.dead_input = entry.loaded.dead_input;
    entry.dead_output = entry.loaded.dead_output;
    if (const Claim* claim = shard_.claims_.Find(missing[i])) entry.state.claim = *claim;
    if (shard_.unanswered_.contains(missing[i])) entry.stage = Stage::kCommitted;
  }
}

Group::Entry* Group::Find(const CallKey& key) {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : found->second.get();
}

ApplyContext Group::ContextFor(const Tenant& tenant) const {
  const StoreContext& store = shard_.context_;
  ApplyContext context = RetentionContext(tenant, now_);
  context.id_window_ms = store.id_window.window_ms;
  context.id_floor_ms = store.id_window.FloorAt(now_.steady_ms);
  context.lease_total_max_ms = store.lease_total_max_ms;
  return context;
}

// ---- Decide

void Group::Decide(Request request) {
  Entry& entry = *Find(request.key);
  if (!entry.loaded.status.ok()) return RefuseUnreadable(std::move(request), entry.loaded.status);
  std::optional<Comparer> comparer;
  if (request.content != nullptr) {
    comparer.emplace(*this, &request);
    if (auto* finish = std::get_if<FinishUpload>(&request.operation)) {
      finish->call_has_ended = *request.content->call_has_ended;
    }
  }
  Applied applied = Apply(entry.state, request.operation, ContextFor(*request.tenant));
  comparer.reset();
  if (applied.effects.store.has_value() && request.content->reservation.is_refused()) {
    applied = Applied{.state = entry.state, .result = {}, .effects = {}};
    applied.result.status = request.content->reservation.refusal();
  }
  GroupEvent event;
  if (shard_.is_observed()) event = EventOf(request, applied);
  const bool is_unclaimed =
      shard_.claims_.Update(request.key, entry.state.claim, applied.state.claim);
  if (is_unclaimed && applied.state.output) shard_.waits_.Wake(request.key);
  const RowCount before = CountRows(entry);
  const bool is_stored = applied.effects.store.has_value();
  entry.state = std::move(applied.state);
  if (!applied.effects.empty()) Record(request, std::move(applied.effects), &entry);
  const RowCount change = CountRows(entry) - before;
  CountChange(request.tenant, change, is_stored ? request.content.get() : nullptr);
  event.change = change;

  switch (entry.stage) {
    case Stage::kAnswered:
      if (event.kind != GroupEvent::Kind::kNone) immediate_.push_back(std::move(event));
      return request.Complete(std::move(applied.result));
    case Stage::kCommitted:
      if (committed_.empty()) committed_.reserve(request_count_);
      committed_.push_back({std::move(request), std::move(applied.result), std::move(event)});
      return;
    case Stage::kErased:
      if (removed_.answers.empty()) removed_.answers.reserve(request_count_);
      removed_.answers.push_back({std::move(request), std::move(applied.result), std::move(event)});
      return;
  }
}

// Nothing is decided about it. Its secret goes at the deadline all the same: the sweeper has that, and
// the slot, from a row of their own.
void Group::RefuseUnreadable(Request request, const absl::Status& status) {
  const auto* expire = std::get_if<ExpirePayload>(&request.operation);
  if (expire != nullptr && now_.erase_ms != Now::kNeverMs) {
    erased_.push_back({.slot = expire->slot, .generation = expire->generation});
    erased_must_sync_ = true;
  }
  OperationResult result;
  result.status = status;
  request.Complete(std::move(result));
}

GroupEvent Group::EventOf(const Request& request, const Applied& applied) {
  using Kind = GroupEvent::Kind;
  GroupEvent event;
  if (applied.effects.store.has_value()) {
    event.kind = Kind::kStored;
  } else if (!applied.effects.empty()) {
    event.kind = std::holds_alternative<AckOutput>(request.operation)    ? Kind::kAcknowledged
                 : std::holds_alternative<DeleteCall>(request.operation) ? Kind::kDeleted
                                                                         : Kind::kExpired;
  } else if (!applied.result.status.ok()) {
    event.kind = Kind::kRefused;
    event.status = applied.result.status;
  } else {
    return event;
  }
  event.tenant = request.tenant;
  event.key = request.key;
  return event;
}

void Group::NoteClaimed(Tenant* tenant, const CallKey& key) {
  if (!shard_.is_observed()) return;
  immediate_.push_back({.kind = GroupEvent::Kind::kClaimed, .tenant = tenant, .key = key});
}

void Group::TellImmediate() { shard_.Tell(std::exchange(immediate_, {})); }

// ---- Record

void Group::Record(const Request& request, Effects effects, Entry* entry) {
  CallChange change{.key = request.key, .loaded = &entry->loaded};
  if (effects.tombstone) change.ended_uploads = shard_.uploads_->OnCallEnding(request.key);
  if (effects.store) {
    change.payload = *PayloadOf(request.operation);
    RecordStored(request, *effects.store, &change);
  }
  // A dead row leaves with the row that takes its place, or with the call.
  if (effects.store == PayloadKind::kInput || effects.tombstone) entry->dead_input.reset();
  if (effects.store == PayloadKind::kOutput || effects.tombstone) entry->dead_output.reset();
  if (effects.store == PayloadKind::kOutput || effects.tombstone) shard_.waits_.Wake(request.key);
  const bool syncs_puts = shard_.context_.syncs_puts();
  const Stage stage = RecordRemoved(request, effects);
  // With durability = "sync" everything but expiry is on the disk before it is answered.
  must_sync_ |=
      stage == Stage::kErased || (syncs_puts && !MayEraseFirst(request.operation, syncs_puts));
  entry->stage = std::max(entry->stage, stage);
  change.effects = std::move(effects);
  if (changes_.empty()) changes_.reserve(request_count_);
  changes_.push_back(std::move(change));
}

void Group::RecordStored(const Request& request, PayloadKind kind, CallChange* change) {
  const PutContent& content = *request.content;
  if (content.upload.has_value()) {
    change->upload = &*content.upload;
  } else {
    change->secret = &content.secret;
  }
  change->row = &content.row;
  contents_[change->payload.slot.generation] = &content;
  stored_.push_back(DueOf(request.key, kind, change->payload));
}

Group::Stage Group::RecordRemoved(const Request& request, const Effects& effects) {
  Stage stage = Stage::kCommitted;
  const bool may_erase_first = MayEraseFirst(request.operation, shard_.context_.syncs_puts());
  for (const auto* removed : {&effects.remove_input, &effects.remove_output}) {
    if (!removed->has_value()) continue;
    if (may_erase_first) {
      erased_.push_back((*removed)->slot);
      // Of a payload whose second is closed the secret opens nothing.
      erased_must_sync_ |= !(*removed)->erased;
      continue;
    }
    removed_.slots.push_back((*removed)->slot);
    stage = Stage::kErased;
  }
  if (stage == Stage::kErased) removed_.calls.push_back(request.key);
  return stage;
}

RowCount Group::CountRows(const Entry& entry) {
  RowCount count;
  for (const auto* row :
       {&entry.state.input, &entry.state.output, &entry.dead_input, &entry.dead_output}) {
    if (!row->has_value()) continue;
    count.calls = 1;
    count.bytes += static_cast<int64_t>((*row)->size_bytes);
  }
  return count;
}

void Group::CountChange(Tenant* tenant, const RowCount& change, PutContent* stored) {
  shard_.usage_.Add(tenant->number, change);
  RowCount taken = change;
  if (stored != nullptr) {
    taken = taken - stored->reservation.Spend();
    if (stored->upload_reservation != nullptr) taken = taken - stored->upload_reservation->Spend();
  }
  tenant->ledger.Add(taken);
}

absl::StatusOr<bool> Group::CountOrphanOut(const DuePayload& row) {
  Entry& entry = *Find(row.key);
  // Storage tells by the slot that a damaged row is dead. How much it counts is lost.
  if (absl::IsDataLoss(entry.loaded.status)) return true;
  RETURN_IF_ERROR(entry.loaded.status);
  std::optional<StoredPayload>& dead =
      row.kind == PayloadKind::kInput ? entry.dead_input : entry.dead_output;
  Tenant* const tenant = shard_.context_.tenants.ByNumber(row.key.tenant);
  if (!dead || dead->slot != row.slot) return false;
  const RowCount before = CountRows(entry);
  dead.reset();
  if (tenant == nullptr) return true;
  const RowCount change = CountRows(entry) - before;
  CountChange(tenant, change, /*stored=*/nullptr);
  immediate_.push_back(
      {.kind = GroupEvent::Kind::kCleared, .tenant = tenant, .key = row.key, .change = change});
  return true;
}

// ---- Commit

absl::StatusOr<Unsynced> Group::Commit(Erases erases) {
  Storage& storage = shard_.context_.storage;
  if (!changes_.empty()) {
    RETURN_IF_ERROR(storage.Commit(shard_.number_, changes_, shard_.usage_.TakeChanged()));
  }
  for (const CallChange& change : changes_) {
    if (change.effects.tombstone) shard_.uploads_->OnCallEnded(change.key);
  }
  // Before anything is answered, and after the rows are gone: a later read finds nothing.
  ReportEnds();
  TellImmediate();

  Unsynced unsynced;
  unsynced.erasures = erased_must_sync_;
  std::vector<SlotRef> slots = std::move(erased_);
  if (erases == Erases::kYes) {
    PendingErasure& pending = shard_.erasure_;
    slots.insert(slots.end(), pending.slots.begin(), pending.slots.end());
    unsynced.erasures |= !pending.slots.empty();
    // The older ones first. They are the group's from here on, also if the erasure fails.
    std::swap(committed_, pending.answers);
    std::move(pending.answers.begin(), pending.answers.end(), std::back_inserter(committed_));
    unsynced.calls = std::move(pending.calls);
    pending = PendingErasure{};
  }
  if (!slots.empty()) RETURN_IF_ERROR(storage.Erase(slots));
  for (const DuePayload& due : stored_) shard_.sweeper_->OnStored(due);

  unsynced.rows = must_sync_;
  if (unsynced.empty()) {
    shard_.Give(std::move(committed_));
  } else {
    unsynced.answers = std::move(committed_);
    for (const CallChange& change : changes_) unsynced.calls.push_back(change.key);
  }
  committed_.clear();
  if (erases == Erases::kYes) {
    shard_.erasure_ = std::move(removed_);
  } else {
    Check(removed_.slots.empty(), "an inline group removes nothing that needs a sync");
  }
  return unsynced;
}

void Group::ReportEnds() const {
  PayloadEndListener* const listener = shard_.context_.payload_ends;
  if (listener == nullptr) return;
  std::vector<uint64_t> generations;
  generations.reserve(erased_.size() + removed_.slots.size());
  for (const SlotRef& slot : erased_) generations.push_back(slot.generation);
  for (const SlotRef& slot : removed_.slots) generations.push_back(slot.generation);
  if (!generations.empty()) listener->OnPayloadsEnded(generations);
}

std::vector<Answer> Group::TakeAnswers() {
  std::vector<Answer> answers = std::move(committed_);
  std::move(removed_.answers.begin(), removed_.answers.end(), std::back_inserter(answers));
  return answers;
}

}  // namespace mayfly
