// The part of a Shard that makes a group of requests into changes and writes them.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/check.h"
#include "base/error.h"
#include "store/durability.h"
#include "store/shard.h"

namespace mayfly {
namespace {

absl::Status StorageDownError() {
  return MakeError(absl::StatusCode::kUnavailable, Reason::kStorageDown,
                   "the disk failed, the server is ending");
}

const StoredPayload* PayloadOf(const Operation& operation) {
  if (const auto* put = std::get_if<PutInput>(&operation)) return &put->payload;
  if (const auto* put = std::get_if<PutOutput>(&operation)) return &put->payload;
  return nullptr;
}

void SetContent(const ContentComparer* content, Operation* operation) {
  if (auto* put = std::get_if<PutInput>(operation)) put->content = content;
  if (auto* put = std::get_if<PutOutput>(operation)) put->content = content;
  if (auto* begin = std::get_if<BeginUpload>(operation)) {
    std::visit([content](auto& put) { put.content = content; }, begin->put);
  }
}

}  // namespace

// Compares with a payload of the same group directly, since its secret is not in its slot yet, and
// with an older one by its fingerprint.
class Shard::GroupComparer : public ContentComparer {
 public:
  GroupComparer(const ShardContext& context, const Group& group, const PutContent& content)
      : context_(context), group_(group), content_(content) {}

  bool SameContent(const StoredPayload& stored) const override {
    if (stored.size_bytes != content_.size_bytes) return false;
    const auto found = group_.contents.find(stored.slot.generation);
    if (found != group_.contents.end()) return found->second->metadata == content_.metadata;
    const auto secret = context_.storage->ReadSecret(stored.slot);
    if (!secret.ok()) return false;
    const auto fingerprint =
        context_.cipher->FingerprintOf(stored, *secret, content_.metadata, content_.size_bytes);
    return fingerprint.ok() && *fingerprint == stored.fingerprint;
  }

 private:
  const ShardContext& context_;
  const Group& group_;
  const PutContent& content_;
};

Shard::Unsynced Shard::RunGroup(Queue queue, Erases erases) {
  for (auto& work : queue.work) work();
  for (const SentOutput& sent : queue.sent) {
    const auto claim = claims_.find(sent.key);
    if (claim == claims_.end() || claim->second.claim.fence != sent.fence) continue;
    claim->second.claim.crc32c = sent.crc32c;
  }
  if (queue.drain) draining_ = true;

  Group group;
  group.now = context_.time->Read();
  AdvanceWheel(group.now);

  std::vector<CallKey> keys;
  keys.reserve(queue.requests.size());
  for (const Request& request : queue.requests) keys.push_back(request.key);
  std::vector<ClaimantVisit> visits = std::exchange(delayed_visits_, {});
  std::move(queue.visits.begin(), queue.visits.end(), std::back_inserter(visits));
  for (const ClaimantVisit& visit : visits) {
    if (visit.purpose != ClaimantVisit::Purpose::kOffer) continue;
    for (const WantedCall& call : visit.calls) keys.push_back(call.key);
  }
  for (const CallKey& key : queue.offers) WakeWaiters(key);
  keys.insert(keys.end(), to_wake_.begin(), to_wake_.end());

  absl::Status status = failure_;
  if (status.ok()) status = LoadEntries(keys, &group);
  if (!status.ok()) {
    // Storage has failed: a read that fails concerns its own calls only. None of this was written.
    RefuseAll(std::move(queue.requests), StorageDownError());
    StopToWake(StorageDownError());
    for (const ClaimantVisit& visit : visits) {
      if (visit.purpose == ClaimantVisit::Purpose::kOffer) {
        visit.claimant->Stop(StorageDownError());
      } else {
        TakeLeave(visit, &group);
      }
    }
    return {};
  }

  ServeWaiters(&group);
  for (Request& request : queue.requests) ApplyRequest(std::move(request), &group);
  VisitAll(std::move(visits), &group);
  if (draining_) StopClaimants(absl::OkStatus());

  Unsynced unsynced;
  status = CommitGroup(&group, erases, &unsynced);
  if (status.ok()) return unsynced;
  for (auto* answers : {&group.committed, &group.erased}) {
    std::move(answers->begin(), answers->end(), std::back_inserter(unsynced.answers));
  }
  Fail(status, std::move(unsynced.answers));
  return {};
}

absl::Status Shard::LoadEntries(absl::Span<const CallKey> keys, Group* group) {
  std::vector<CallKey> missing;
  for (const CallKey& key : keys) {
    const auto [entry, is_new] = group->entries.try_emplace(key, nullptr);
    if (!is_new) continue;
    entry->second = std::make_unique<Entry>();
    missing.push_back(key);
  }
  if (missing.empty()) return absl::OkStatus();
  std::vector<LoadedCall> loaded(missing.size());
  RETURN_IF_ERROR(context_.storage->Load(missing, absl::MakeSpan(loaded)));
  for (size_t i = 0; i < missing.size(); ++i) {
    Entry& entry = *group->entries[missing[i]];
    entry.loaded = std::move(loaded[i]);
    entry.state = entry.loaded.state;
    entry.dead_input = entry.loaded.dead_input;
    entry.dead_output = entry.loaded.dead_output;
    const auto claim = claims_.find(missing[i]);
    if (claim != claims_.end()) entry.state.claim = claim->second.claim;
    if (!IsAnswered(missing[i])) entry.stage = Stage::kCommitted;
  }
  return absl::OkStatus();
}

ApplyContext Shard::ContextFor(const Tenant& tenant, const Now& now) const {
  ApplyContext context = RetentionContext(tenant, now);
  context.id_window_ms = context_.id_window.window_ms;
  context.id_floor_ms = context_.id_window.FloorAt(now.steady_ms);
  context.lease_total_max_ms = context_.lease_total_max_ms;
  return context;
}

// Nothing is decided about it. Its secret goes at the deadline all the same: the sweeper has that, and
// the slot, from a row of their own.
void Shard::RefuseUnreadable(Request request, const absl::Status& status, Group* group) {
  const auto* expire = std::get_if<ExpirePayload>(&request.operation);
  if (expire != nullptr && group->now.erase_ms != Now::kNeverMs) {
    group->removed_first.push_back({.slot = expire->slot, .generation = expire->generation});
  }
  OperationResult result;
  result.status = status;
  request.Complete(std::move(result));
}

void Shard::ApplyRequest(Request request, Group* group) {
  Entry& entry = *group->entries[request.key];
  if (!entry.loaded.status.ok()) {
    return RefuseUnreadable(std::move(request), entry.loaded.status, group);
  }
  std::optional<GroupComparer> comparer;
  if (request.content != nullptr) {
    comparer.emplace(context_, *group, *request.content);
    SetContent(&*comparer, &request.operation);
    auto* const put = std::get_if<PutInput>(&request.operation);
    const std::atomic<bool>* const call_has_ended = request.content->call_has_ended;
    if (put != nullptr && call_has_ended != nullptr) put->began_in_window = !*call_has_ended;
  }
  Applied applied = Apply(entry.state, request.operation, ContextFor(*request.tenant, group->now));
  if (applied.effects.store.has_value()) {
    if (absl::Status room = CheckRoom(request, *applied.effects.store); !room.ok()) {
      applied = Applied{.state = entry.state, .result = {}, .effects = {}};
      applied.result.status = std::move(room);
    }
  }
  UpdateClaim(request.key, request.tenant, entry.state.claim, applied.state.claim,
              applied.state.output.has_value());
  const Counted before = CountRows(entry);
  entry.state = applied.state;
  if (!applied.effects.empty()) RecordChange(request, applied.effects, &entry, group);
  Account(request.tenant, before, CountRows(entry));

  switch (entry.stage) {
    case Stage::kNow:
      return request.Complete(std::move(applied.result));
    case Stage::kCommitted:
      group->committed.push_back({std::move(request), std::move(applied.result)});
      return;
    case Stage::kErased:
      group->erased.push_back({std::move(request), std::move(applied.result)});
      return;
  }
}

absl::Status Shard::CheckRoom(const Request& request, PayloadKind kind) const {
  const Tenant& tenant = *request.tenant;
  const uint64_t live_calls_max = tenant.limits.live_calls_max;
  if (kind == PayloadKind::kInput && live_calls_max != 0 &&
      tenant.live_calls >= static_cast<int64_t>(live_calls_max)) {
    return WithRetryDelay(MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaCalls,
                                    absl::StrCat("live_calls would be ", tenant.live_calls + 1,
                                                 ", limit is ", live_calls_max)),
                          kRetryDelay);
  }
  const PutContent& content = *request.content;
  RETURN_IF_ERROR(CheckBytesQuota(tenant, static_cast<int64_t>(content.size_bytes) -
                                              static_cast<int64_t>(content.reserved_bytes)));
  if (!content.room.empty()) return absl::OkStatus();
  return context_.storage->RoomRefusal(RoomBudget::CostOfSegment(content.size_bytes));
}

void Shard::RecordChange(const Request& request, const Effects& effects, Entry* entry,
                         Group* group) {
  group->recorded.push_back(std::make_unique<Recorded>(Recorded{effects, {}, {}}));
  Recorded& recorded = *group->recorded.back();
  CallChange change{.key = request.key, .effects = &recorded.effects, .loaded = &entry->loaded};
  if (effects.tombstone) {
    recorded.ended_uploads = context_.uploads->OnCallEnding(request.key);
    change.ended_uploads = recorded.ended_uploads;
  }
  if (effects.store.has_value()) {
    recorded.payload = *PayloadOf(request.operation);
    change.payload = &recorded.payload;
    if (request.content->upload.has_value()) {
      change.upload = &*request.content->upload;
    } else {
      change.secret = &request.content->secret;
    }
    change.row = &request.content->row;
    group->contents[recorded.payload.slot.generation] = request.content.get();
    group->stored.push_back(DuePayload{.due_s = DueSecond(recorded.payload.deadline_ms),
                                       .key = request.key,
                                       .kind = *effects.store,
                                       .slot = recorded.payload.slot,
                                       .size_bytes = recorded.payload.size_bytes,
                                       .stored_ms = recorded.payload.stored_ms});
    if (*effects.store == PayloadKind::kOutput) WakeWaiters(request.key);
  }
  // A dead row leaves with the row that takes its place, or with the call.
  if (effects.store == PayloadKind::kInput || effects.tombstone) entry->dead_input.reset();
  if (effects.store == PayloadKind::kOutput || effects.tombstone) entry->dead_output.reset();
  if (effects.tombstone.has_value()) WakeWaiters(request.key);
  Stage stage = Stage::kCommitted;
  const bool may_erase_first = MayEraseFirst(request.operation, context_.sync_puts);
  for (const auto* removed : {&effects.remove_input, &effects.remove_output}) {
    if (!removed->has_value()) continue;
    if (may_erase_first) {
      group->removed_first.push_back((*removed)->slot);
      continue;
    }
    group->removed.push_back((*removed)->slot);
    stage = Stage::kErased;
  }
  if (stage == Stage::kErased) group->removed_calls.push_back(request.key);
  // With durability = "sync" everything but expiry is on the disk before it is answered.
  group->must_sync |= stage == Stage::kErased || (context_.sync_puts && !may_erase_first);
  entry->stage = std::max(entry->stage, stage);
  group->changes.push_back(change);
}

Shard::Counted Shard::CountRows(const Entry& entry) {
  Counted counted;
  for (const auto* row :
       {&entry.state.input, &entry.state.output, &entry.dead_input, &entry.dead_output}) {
    if (!row->has_value()) continue;
    counted.calls = 1;
    counted.bytes += static_cast<int64_t>((*row)->size_bytes);
  }
  return counted;
}

void Shard::Account(Tenant* tenant, const Counted& before, const Counted& after) {
  const int64_t calls = after.calls - before.calls;
  const int64_t bytes = after.bytes - before.bytes;
  if (calls == 0 && bytes == 0) return;
  tenant->live_calls += calls;
  tenant->live_bytes += bytes;
  TenantUsage& used = usage_[tenant->number];
  used.tenant = tenant->number;
  used.live_calls += calls;
  used.live_bytes += bytes;
  changed_usage_.insert(tenant->number);
}

std::vector<TenantUsage> Shard::TakeChangedUsage() {
  std::vector<TenantUsage> usage;
  for (const TenantNumber tenant : std::exchange(changed_usage_, {})) {
    usage.push_back(usage_.at(tenant));
  }
  return usage;
}

absl::Status Shard::RemoveOrphans(const Orphans& orphans) {
  Group group;
  std::vector<CallKey> keys;
  for (const DuePayload& row : orphans.rows) keys.push_back(row.key);
  RETURN_IF_ERROR(LoadEntries(keys, &group));
  for (const DuePayload& row : orphans.rows) {
    Entry& entry = *group.entries[row.key];
    std::optional<StoredPayload>& dead =
        row.kind == PayloadKind::kInput ? entry.dead_input : entry.dead_output;
    Tenant* const tenant = context_.tenants->ByNumber(row.key.tenant);
    if (!dead || dead->slot != row.slot || tenant == nullptr) continue;
    const Counted before = CountRows(entry);
    dead.reset();
    Account(tenant, before, CountRows(entry));
  }
  RETURN_IF_ERROR(context_.storage->RemoveOrphans(orphans));
  const std::vector<TenantUsage> usage = TakeChangedUsage();
  if (!usage.empty()) RETURN_IF_ERROR(context_.storage->Commit(number_, {}, usage));
  return context_.storage->Sync();
}

void Shard::ReportEnds(const Group& group) const {
  if (context_.payload_ends == nullptr) return;
  std::vector<uint64_t> generations;
  generations.reserve(group.removed_first.size() + group.removed.size());
  for (const SlotRef& slot : group.removed_first) generations.push_back(slot.generation);
  for (const SlotRef& slot : group.removed) generations.push_back(slot.generation);
  if (!generations.empty()) context_.payload_ends->OnPayloadsEnded(generations);
}

absl::Status Shard::CommitGroup(Group* group, Erases erases, Unsynced* unsynced) {
  if (!group->changes.empty()) {
    RETURN_IF_ERROR(context_.storage->Commit(number_, group->changes, TakeChangedUsage()));
  }
  for (const CallChange& change : group->changes) {
    if (change.effects->tombstone) context_.uploads->OnCallEnded(change.key);
  }
  // Before anything is answered, and after the rows are gone: who reads one later finds nothing.
  ReportEnds(*group);
  std::vector<SlotRef> erased = std::move(group->removed_first);
  if (erases == Erases::kYes) {
    erased.insert(erased.end(), erasure_.slots.begin(), erasure_.slots.end());
    std::move(erasure_.answers.begin(), erasure_.answers.end(),
              std::back_inserter(unsynced->answers));
    unsynced->calls = std::move(erasure_.calls);
    erasure_ = Erasure{};
  }
  if (!erased.empty()) RETURN_IF_ERROR(context_.storage->Erase(erased));
  for (const DuePayload& due : group->stored) context_.sweeper->OnStored(due);

  unsynced->rows = group->must_sync;
  unsynced->erasures = !erased.empty();
  if (unsynced->empty()) {
    for (Answer& answer : group->committed) answer.request.Complete(std::move(answer.result));
  } else {
    std::move(group->committed.begin(), group->committed.end(),
              std::back_inserter(unsynced->answers));
    for (const CallChange& change : group->changes) unsynced->calls.push_back(change.key);
  }
  if (!unsynced->rows && !group->changes.empty()) {
    context_.unsynced_rows->store(true, std::memory_order_release);
  }
  if (erases == Erases::kNo) {
    Check(group->removed.empty(), "what was brought removes nothing");
    return absl::OkStatus();
  }
  erasure_ = Erasure{.slots = std::move(group->removed),
                     .calls = std::move(group->removed_calls),
                     .answers = std::move(group->erased)};
  MutexLock lock(&mutex_);
  erasing_.clear();
  erasing_.insert(erasure_.calls.begin(), erasure_.calls.end());
  return absl::OkStatus();
}

void Shard::Fail(const absl::Status& status, std::vector<Answer> answers) {
  failure_ = status;
  // First of all the process is told to end: no answer below may look like a decision.
  (*context_.on_fatal)(status);
  std::move(erasure_.answers.begin(), erasure_.answers.end(), std::back_inserter(answers));
  erasure_ = Erasure{};
  for (Answer& answer : answers) {
    OperationResult result;
    result.status = StorageDownError();
    result.is_uncertain = true;
    answer.request.Complete(std::move(result));
  }
  StopClaimants(StorageDownError());
}

}  // namespace mayfly
