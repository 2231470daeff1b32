#include "store/shard/shard.h"

#include <utility>

#include "base/error.h"
#include "storage/storage_error.h"
#include "store/shard/offers.h"

namespace mayfly {
namespace {

constexpr absl::Duration kDroppedRetryDelay = absl::Seconds(1);

// What callers of a shard are told after `failure`.
absl::Status ShardError(const absl::Status& failure) {
  if (KindOf(failure) == StorageErrorKind::kFailed) {
    return MakeError(absl::StatusCode::kUnavailable, Reason::kStorageDown,
                     "the disk failed, the server is ending");
  }
  return WithRetryDelay(MakeError(absl::StatusCode::kUnavailable, Reason::kStorageDown,
                                  "another server may decide about the call by now"),
                        kDroppedRetryDelay);
}

}  // namespace

Shard::Shard(uint32_t number, const StoreContext& context, Sweeper* sweeper, Uploads* uploads,
             const UnansweredCalls* unanswered, const std::vector<TenantUsage>& usage)
    : number_(number),
      context_(context),
      sweeper_(sweeper),
      uploads_(uploads),
      unanswered_(*unanswered),
      claims_(context.time.Read().elapsed_ms),
      waits_(context.time.Read().elapsed_ms),
      usage_(usage) {}

Unsynced Shard::RunGroup(GroupWork work, Erases erases) {
  for (const SentOutput& sent : work.sent) claims_.NoteSent(sent);
  draining_ |= work.drain;
  Group group(this, context_.time.Read(), work.requests.size());
  AdvanceTimers(group.now());
  for (const CallKey& key : work.rechecks) waits_.Wake(key);

  work.registrations.insert(work.registrations.begin(), std::make_move_iterator(delayed_.begin()),
                            std::make_move_iterator(delayed_.end()));
  delayed_.clear();
  if (!failure_.ok()) {
    RefuseWork(std::move(work));
    return {};
  }
  group.Load(KeysOf(work));

  Offers offers(this, &group);
  offers.ServeWoken();
  for (Request& request : work.requests) group.Decide(std::move(request));
  offers.Handle(std::move(work.registrations));
  if (draining_) StopClaimants(absl::OkStatus());

  absl::StatusOr<Unsynced> unsynced = group.Commit(erases);
  if (unsynced.ok()) return *std::move(unsynced);
  Fail(unsynced.status(), group.TakeAnswers());
  return {};
}

std::vector<CallKey> Shard::KeysOf(const GroupWork& work) const {
  std::vector<CallKey> keys;
  keys.reserve(work.requests.size());
  for (const Request& request : work.requests) keys.push_back(request.key);
  for (const Registration& registration : work.registrations) {
    if (registration.purpose != Registration::Purpose::kRegister) continue;
    for (const WantedCall& call : registration.calls) keys.push_back(call.key);
  }
  keys.insert(keys.end(), waits_.woken().begin(), waits_.woken().end());
  return keys;
}

void Shard::AdvanceTimers(const Now& now) {
  for (const CallKey& key : claims_.TakeLapsed(now)) waits_.Wake(key);
  for (const std::shared_ptr<Claimant>& claimant : waits_.TakeDue(now.elapsed_ms)) {
    if (claimant->OnTimer()) waits_.StartTimer(claimant, now.elapsed_ms + kQuotaRecheckMs);
  }
}

void Shard::RefuseWork(GroupWork work) {
  const absl::Status error = ShardError(failure_);
  RefuseAll(std::move(work.requests), error);
  StopWoken(error);
  Group nothing(this, context_.time.Read(), 0);
  Offers offers(this, &nothing);
  for (const Registration& registration : work.registrations) {
    if (registration.purpose == Registration::Purpose::kRegister) {
      registration.claimant->Stop(error);
    } else {
      offers.Unregister(registration);
    }
  }
}

void Shard::Fail(const absl::Status& status, std::vector<Answer> answers) {
  failure_ = status;
  // First of all the process is told to end, if it is to: no answer below may look like a decision.
  context_.failure.Report(status);
  const absl::Status error = ShardError(status);
  std::move(erasure_.answers.begin(), erasure_.answers.end(), std::back_inserter(answers));
  erasure_ = PendingErasure{};
  for (Answer& answer : answers) {
    answer.result = OperationResult{};
    answer.result.status = error;
    answer.result.is_uncertain = KindOf(status) != StorageErrorKind::kFenced;
    answer.Give();
  }
  StopClaimants(error);
}

void Shard::Give(std::vector<Answer> answers) {
  if (is_observed()) {
    std::vector<GroupEvent> events;
    events.reserve(answers.size());
    for (Answer& answer : answers) {
      if (answer.event.kind != GroupEvent::Kind::kNone) events.push_back(std::move(answer.event));
    }
    Tell(events);
  }
  for (Answer& answer : answers) answer.Give();
}

void Shard::Tell(absl::Span<const GroupEvent> events) {
  if (events.empty()) return;
  for (GroupObserver* const observer : context_.observers) observer->OnGroupEvents(number_, events);
}

absl::Status Shard::RemoveOrphans(Orphans orphans) {
  Group group(this, context_.time.Read(), 0);
  std::vector<CallKey> keys;
  for (const DuePayload& row : orphans.rows) keys.push_back(row.key);
  RETURN_IF_ERROR(failure_);
  group.Load(keys);
  absl::Status unread;
  std::erase_if(orphans.rows, [&](const DuePayload& row) {
    const absl::StatusOr<bool> leaves = group.CountOrphanOut(row);
    unread.Update(leaves.status());
    return !leaves.ok() || !*leaves;
  });
  // With the rows in one write: between two a crash would leave them counted for ever.
  RETURN_IF_ERROR(context_.storage.RemoveOrphans(number_, orphans, usage_.TakeChanged()));
  RETURN_IF_ERROR(context_.storage.Sync());
  group.TellImmediate();
  return unread;
}

void Shard::StopClaimants(const absl::Status& failure) {
  // Stopping calls back into the store, which may register or forget claimants here.
  for (const std::shared_ptr<Claimant>& claimant : waits_.TakeAll()) claimant->Stop(failure);
}

void Shard::StopWoken(const absl::Status& failure) {
  std::vector<std::shared_ptr<Claimant>> claimants;
  for (const CallKey& key : waits_.TakeWoken()) {
    for (std::shared_ptr<Claimant>& claimant : waits_.TakeAll(key)) {
      claimants.push_back(std::move(claimant));
    }
  }
  for (const std::shared_ptr<Claimant>& claimant : claimants) claimant->Stop(failure);
}

}  // namespace mayfly
