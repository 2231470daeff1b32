// The part of a Shard that deals with claims and with the polls that wait for them.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/check.h"
#include "base/error.h"
#include "store/shard.h"

namespace mayfly {
namespace {

// The wheel holds claims by their fence and polls by a number of their own with this bit, which no
// fence has: boot numbers have 24 bits, of which the topmost takes 2^23 starts to set.
constexpr uint64_t kPollTimerBit = uint64_t{1} << 63;
// How much one turn of the thread takes from the wheel.
constexpr size_t kWheelItemsMax = 4096;

}  // namespace

void Shard::UpdateClaim(const CallKey& key, Tenant* tenant, const std::optional<Claim>& before,
                        const std::optional<Claim>& after, bool claimable_again) {
  if (before == after) return;
  const bool is_renewed = before && after && before->fence == after->fence;
  if (is_renewed) {
    // The wheel's entry stays: when it comes up, the lease is looked at again.
    claims_[key].claim = *after;
    return;
  }
  if (before) {
    const auto found = claims_.find(key);
    Check(found != claims_.end(), "a claim in a state is in the table");
    if (found->second.timer) wheel_.Cancel(*found->second.timer);
    claim_by_fence_.erase(before->fence);
    --found->second.tenant->claims;
    claims_.erase(found);
  }
  if (after) {
    ClaimRecord& record = claims_[key];
    record = ClaimRecord{.claim = *after, .tenant = tenant, .timer = std::nullopt};
    claim_by_fence_[after->fence] = key;
    ++tenant->claims;
    ScheduleLapse(&record, after->claimed_ms);
  } else if (claimable_again) {
    WakeWaiters(key);
  }
}

void Shard::ScheduleLapse(ClaimRecord* record, int64_t now_ms) {
  const int64_t deadline_ms =
      std::min(std::max(record->claim.lease_end_ms, now_ms), wheel_.horizon_ms());
  record->timer = wheel_.Schedule(deadline_ms, record->claim.fence);
}

void Shard::AdvanceWheel(const Now& now) {
  std::vector<uint64_t> due;
  wheel_.Advance(now.steady_ms, kWheelItemsMax, &due);
  for (const uint64_t id : due) {
    if (id & kPollTimerBit) {
      const auto timer = poll_by_timer_.find(id);
      const std::shared_ptr<Poll> poll = timer->second.lock();
      poll_by_timer_.erase(timer);
      if (poll != nullptr) poll->Answer(absl::OkStatus());
      continue;
    }
    const auto found = claim_by_fence_.find(id);
    if (found == claim_by_fence_.end()) continue;
    const CallKey key = found->second;
    ClaimRecord& record = claims_[key];
    record.timer.reset();
    if (HasLapsed(record.claim, now)) {
      const Claim lapsed = record.claim;
      UpdateClaim(key, record.tenant, lapsed, std::nullopt, /*claimable_again=*/true);
    } else {
      ScheduleLapse(&record, now.steady_ms);
    }
  }
}

void Shard::VisitPolls(std::vector<PollVisit> visits, Group* group) {
  for (PollVisit& visit : visits) {
    if (visit.forget) {
      RemoveWaiters(visit);
      continue;
    }
    const bool has_unanswered_change = std::any_of(
        visit.calls.begin(), visit.calls.end(),
        [group](const PollCall& call) { return group->entries[call.key]->stage != Stage::kNow; });
    // The next group sees these calls as they are answered by then.
    if (has_unanswered_change) {
      delayed_visits_.push_back(std::move(visit));
    } else {
      VisitPoll(visit, group);
    }
  }
}

void Shard::VisitPoll(const PollVisit& visit, Group* group) {
  Poll* const poll = visit.poll.get();
  bool waits = false;
  for (const PollCall& call : visit.calls) {
    const bool is_pending = !ClaimFor(poll, call, group);
    if (!is_pending || !poll->waits() || draining_) continue;
    AddWaiter(call.key, visit.poll, call.index);
    waits = true;
  }
  poll->ShardVisited();
  if (!waits) return;
  const uint64_t timer = kPollTimerBit | ++last_poll_timer_;
  poll_by_timer_[timer] = visit.poll;
  const bool is_scheduled =
      wheel_.Schedule(std::min(poll->options().wait_until_ms, wheel_.horizon_ms()), timer)
          .has_value();
  Check(is_scheduled, "a wait lies within the wheel's horizon");
}

// True when the poll has learnt what became of the call: claimed for it, or ended. False when it
// has to wait.
bool Shard::ClaimFor(Poll* poll, const PollCall& call, Group* group) {
  const PollOptions& options = poll->options();
  Entry& entry = *group->entries[call.key];
  const ApplyContext context = ContextFor(*options.tenant, group->now);

  MutexLock lock(poll->mutex());
  if (poll->answered()) return true;
  if (entry.state.output && !poll->HasRoomFor(entry.state.output->size_bytes)) return false;
  const uint64_t fence = context_.storage->boot_number() << 40 |
                         context_.fence_counter->fetch_add(1, std::memory_order_relaxed);
  Applied applied = Apply(entry.state,
                          ClaimOutput{.token = options.token,
                                      .token_hash = options.token_hash,
                                      .fence = fence,
                                      .lease_ms = options.lease_ms},
                          context);
  OperationResult& result = applied.result;
  if (!result.status.ok()) {
    poll->AddEnd({.call = call, .status = std::move(result.status)});
    return true;
  }
  if (result.pending) return false;
  const bool is_new = result.claim->fence == fence;
  const uint64_t claims_max = options.tenant->limits.claims_max;
  if (is_new && options.tenant->claims >= static_cast<int64_t>(claims_max)) {
    poll->Refuse(
        WithRetryDelay(MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaClaims,
                                 absl::StrCat("outstanding claims would be ", claims_max + 1,
                                              ", limit is ", claims_max)),
                       absl::Seconds(1)));
    return false;
  }
  UpdateClaim(call.key, options.tenant, entry.state.claim, applied.state.claim,
              /*claimable_again=*/false);
  entry.state = std::move(applied.state);
  poll->AddOutput({.call = call, .payload = *result.payload, .claim = *result.claim});
  return true;
}

void Shard::AddWaiter(const CallKey& key, std::shared_ptr<Poll> poll, uint32_t index) {
  waiters_[key].push_back(Waiter{.poll = std::move(poll), .index = index});
}

void Shard::RemoveWaiters(const PollVisit& visit) {
  for (const PollCall& call : visit.calls) {
    const auto found = waiters_.find(call.key);
    if (found == waiters_.end()) continue;
    std::vector<Waiter>& waiters = found->second;
    waiters.erase(std::remove_if(waiters.begin(), waiters.end(),
                                 [&](const Waiter& w) { return w.poll == visit.poll; }),
                  waiters.end());
    if (waiters.empty()) waiters_.erase(found);
  }
}

void Shard::WakeWaiters(const CallKey& key) {
  if (waiters_.contains(key)) to_wake_.push_back(key);
}

// Offers calls that have changed to those who wait for them, first come, first served. What one
// group has brought a poll is told in one answer.
void Shard::ServeWaiters(Group* group) {
  std::vector<std::shared_ptr<Poll>> touched;
  for (const CallKey& key : std::exchange(to_wake_, {})) {
    const auto found = waiters_.find(key);
    if (found == waiters_.end()) continue;
    if (group->entries[key]->stage != Stage::kNow) {
      to_wake_.push_back(key);  // its change is not answered yet
      continue;
    }
    std::vector<Waiter> waiting;
    for (Waiter& waiter : found->second) {
      const PollCall call{.index = waiter.index, .key = key};
      if (ClaimFor(waiter.poll.get(), call, group)) {
        touched.push_back(std::move(waiter.poll));
      } else {
        waiting.push_back(std::move(waiter));
      }
    }
    if (waiting.empty()) {
      waiters_.erase(found);
    } else {
      found->second = std::move(waiting);
    }
  }
  for (const std::shared_ptr<Poll>& poll : touched) poll->AnswerIfReady();
}

void Shard::AnswerAllPolls() {
  // Answering calls back into the store, which may forget the poll here: not while iterating.
  std::vector<std::shared_ptr<Poll>> polls;
  for (auto& [key, waiters] : std::exchange(waiters_, {})) {
    for (Waiter& waiter : waiters) polls.push_back(std::move(waiter.poll));
  }
  for (const std::shared_ptr<Poll>& poll : polls) poll->Answer(absl::OkStatus());
}

}  // namespace mayfly
