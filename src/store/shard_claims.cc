// The part of a Shard that deals with claims and with those who wait for them.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/check.h"
#include "base/error.h"
#include "store/shard.h"

namespace mayfly {
namespace {

// The wheel holds claims by their fence and claimants by a number of their own with this bit, which
// no fence has: boot numbers have 24 bits, of which the topmost takes 2^23 starts to set.
constexpr uint64_t kClaimantTimerBit = uint64_t{1} << 63;
// How long who ran into the limit of claims waits before the next look.
constexpr int64_t kQuotaRetryMs = 1000;
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
    ForgetHolder(found->second);
    --found->second.tenant->claims;
    claims_.erase(found);
  }
  if (after) {
    ClaimRecord& record = claims_[key];
    record =
        ClaimRecord{.claim = *after, .tenant = tenant, .timer = std::nullopt, .holder = nullptr};
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
  wheel_.Advance(now.elapsed_ms, kWheelItemsMax, &due);
  for (const uint64_t id : due) {
    if (id & kClaimantTimerBit) {
      TimerDue(id, now.elapsed_ms);
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
      ScheduleLapse(&record, now.elapsed_ms);
    }
  }
}

void Shard::SetHolder(const CallKey& key, const Claimant* holder) {
  ClaimRecord& record = claims_.at(key);
  if (record.holder == holder) return;
  ForgetHolder(record);
  record.holder = holder;
  fences_by_holder_[holder].insert(record.claim.fence);
}

void Shard::ForgetHolder(const ClaimRecord& record) {
  if (record.holder == nullptr) return;
  const auto held = fences_by_holder_.find(record.holder);
  held->second.erase(record.claim.fence);
  if (held->second.empty()) fences_by_holder_.erase(held);
}

void Shard::ReleaseClaimsOf(const Claimant* holder, Group* group) {
  const auto held = fences_by_holder_.find(holder);
  if (held == fences_by_holder_.end()) return;
  const absl::flat_hash_set<uint64_t> fences = std::move(held->second);
  fences_by_holder_.erase(held);
  for (const uint64_t fence : fences) {
    const CallKey key = claim_by_fence_.at(fence);
    ClaimRecord& record = claims_.at(key);
    record.holder = nullptr;
    const auto entry = group->entries.find(key);
    if (entry != group->entries.end()) entry->second->state.claim.reset();
    const Claim released = record.claim;
    UpdateClaim(key, record.tenant, released, std::nullopt, /*claimable_again=*/true);
  }
}

// Requests were applied before: an ack that was sent before the end counts.
void Shard::VisitAll(std::vector<ClaimantVisit> visits, Group* group) {
  for (ClaimantVisit& visit : visits) {
    if (visit.purpose != ClaimantVisit::Purpose::kOffer) {
      TakeLeave(visit, group);
      continue;
    }
    const bool has_unanswered_change = std::any_of(
        visit.calls.begin(), visit.calls.end(),
        [group](const WantedCall& call) { return group->entries[call.key]->stage != Stage::kNow; });
    // The next group sees these calls as they are answered by then.
    if (has_unanswered_change) {
      delayed_visits_.push_back(std::move(visit));
    } else {
      OfferVisit(visit, group);
    }
  }
}

void Shard::TakeLeave(const ClaimantVisit& visit, Group* group) {
  RemoveWaiters(visit);
  const bool waits_no_more = visit.purpose == ClaimantVisit::Purpose::kRelease ||
                             visit.claimant->terms().wait_until_ms != 0;
  if (waits_no_more) CancelTimer(visit.claimant.get());
  if (visit.purpose != ClaimantVisit::Purpose::kRelease) return;
  ReleaseClaimsOf(visit.claimant.get(), group);
  visit.claimant->Released();
}

void Shard::OfferVisit(const ClaimantVisit& visit, Group* group) {
  Claimant* const claimant = visit.claimant.get();
  const ClaimTerms& terms = claimant->terms();
  bool waits = false;
  bool wants_timer = false;
  for (const WantedCall& call : visit.calls) {
    if (ClaimFor(claimant, call, group, &wants_timer) || !terms.waits) continue;
    waits = true;
    if (draining_) continue;
    waiters_[call.key].push_back(Waiter{.claimant = visit.claimant, .index = call.index});
  }
  if (waits && draining_) claimant->Stop(absl::OkStatus());
  claimant->Visited();
  if (wants_timer) StartTimer(visit.claimant, group->now.elapsed_ms + kQuotaRetryMs);
  if (waits && terms.wait_until_ms != 0) StartTimer(visit.claimant, terms.wait_until_ms);
}

void Shard::StartTimer(const std::shared_ptr<Claimant>& claimant, int64_t due_ms) {
  CancelTimer(claimant.get());
  const uint64_t timer = kClaimantTimerBit | ++last_timer_;
  const auto handle = wheel_.Schedule(std::min(due_ms, wheel_.horizon_ms()), timer);
  Check(handle.has_value(), "a wait lies within the wheel's horizon");
  claimant_by_timer_[timer] = claimant;
  timer_by_claimant_[claimant.get()] = {.number = timer, .handle = *handle};
}

// Else a poll that was answered would keep its memory until its wait would have ended.
void Shard::CancelTimer(const Claimant* claimant) {
  const auto found = timer_by_claimant_.find(claimant);
  if (found == timer_by_claimant_.end()) return;
  wheel_.Cancel(found->second.handle);
  claimant_by_timer_.erase(found->second.number);
  timer_by_claimant_.erase(found);
}

void Shard::TimerDue(uint64_t timer, int64_t now_ms) {
  const auto found = claimant_by_timer_.find(timer);
  const std::shared_ptr<Claimant> claimant = found->second.lock();
  claimant_by_timer_.erase(found);
  if (claimant != nullptr) timer_by_claimant_.erase(claimant.get());
  if (claimant == nullptr || !claimant->TimerDue()) return;
  StartTimer(claimant, now_ms + kQuotaRetryMs);
}

// True when the claimant has learnt what became of the call, or wants it no more. False when it has
// to wait.
bool Shard::ClaimFor(Claimant* claimant, const WantedCall& call, Group* group, bool* wants_timer) {
  const ClaimTerms& terms = claimant->terms();
  Entry& entry = *group->entries[call.key];
  const ApplyContext context = ContextFor(*terms.tenant, group->now);

  MutexLock lock(claimant->mutex());
  if (!claimant->Wants(call)) return true;
  if (!entry.loaded.status.ok()) {
    if (!claimant->TakesEnd(call)) return false;
    claimant->AddEnd({.call = call, .status = entry.loaded.status});
    return true;
  }
  const uint64_t fence = context_.storage->boot_number() << 40 |
                         context_.fence_counter->fetch_add(1, std::memory_order_relaxed);
  Applied applied = Apply(entry.state,
                          ClaimOutput{.token = terms.token,
                                      .token_hash = terms.token_hash,
                                      .fence = fence,
                                      .lease_ms = terms.lease_ms},
                          context);
  OperationResult& result = applied.result;
  if (!result.status.ok()) {
    if (!claimant->TakesEnd(call)) return false;
    claimant->AddEnd({.call = call, .status = std::move(result.status)});
    return true;
  }
  if (result.pending) {
    claimant->IsPending(call);
    return false;
  }
  if (!claimant->TakesOutput(call, result.payload->size_bytes)) return false;
  const bool is_new = result.claim->fence == fence;
  const uint64_t claims_max = terms.tenant->limits.claims_max;
  if (is_new && terms.tenant->claims >= static_cast<int64_t>(claims_max)) {
    *wants_timer |= claimant->Refuse(
        call, WithRetryDelay(MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaClaims,
                                       absl::StrCat("outstanding claims would be ", claims_max + 1,
                                                    ", limit is ", claims_max)),
                             absl::Milliseconds(kQuotaRetryMs)));
    return false;
  }
  UpdateClaim(call.key, terms.tenant, entry.state.claim, applied.state.claim,
              /*claimable_again=*/false);
  entry.state = std::move(applied.state);
  if (terms.holds_claims) SetHolder(call.key, claimant);
  claimant->AddOutput({.call = call,
                       .payload = *result.payload,
                       .claim = *result.claim,
                       .lease_end_ms = result.lease_end_ms});
  return true;
}

// A visit may overtake it: a call that is wanted again keeps one of its places.
void Shard::RemoveWaiters(const ClaimantVisit& visit) {
  MutexLock lock(visit.claimant->mutex());
  for (const WantedCall& call : visit.calls) {
    const auto found = waiters_.find(call.key);
    if (found == waiters_.end()) continue;
    Waiters& waiters = found->second;
    bool keeps = visit.claimant->Wants(call);
    const auto leaves = [&](const Waiter& waiter) {
      return waiter.claimant == visit.claimant && !std::exchange(keeps, false);
    };
    waiters.erase(std::remove_if(waiters.begin(), waiters.end(), leaves), waiters.end());
    if (waiters.empty()) waiters_.erase(found);
  }
}

void Shard::WakeWaiters(const CallKey& key) {
  if (waiters_.contains(key)) to_wake_.push_back(key);
}

// Offers calls that have changed to those who wait for them, first come, first served. What one
// group has brought a claimant is told together.
void Shard::ServeWaiters(Group* group) {
  std::vector<std::shared_ptr<Claimant>> touched;
  for (const CallKey& key : std::exchange(to_wake_, {})) {
    const auto found = waiters_.find(key);
    if (found == waiters_.end()) continue;
    if (group->entries[key]->stage != Stage::kNow) {
      to_wake_.push_back(key);  // its change is not answered yet
      continue;
    }
    Waiters waiting;
    for (Waiter& waiter : found->second) {
      const std::shared_ptr<Claimant>& claimant = waiter.claimant;
      const WantedCall call{.index = waiter.index, .key = key};
      bool wants_timer = false;
      const bool is_told = ClaimFor(claimant.get(), call, group, &wants_timer);
      if (wants_timer) StartTimer(claimant, group->now.elapsed_ms + kQuotaRetryMs);
      if (touched.empty() || touched.back() != claimant) touched.push_back(claimant);
      if (!is_told) waiting.push_back(std::move(waiter));
    }
    if (waiting.empty()) {
      waiters_.erase(found);
    } else {
      found->second = std::move(waiting);
    }
  }
  for (const std::shared_ptr<Claimant>& claimant : touched) claimant->Offered();
}

void Shard::StopClaimants(const absl::Status& failure) {
  // Stopping calls back into the store, which may forget the claimant here: not while iterating.
  std::vector<std::shared_ptr<Claimant>> claimants;
  for (auto& [key, waiters] : std::exchange(waiters_, {})) {
    for (Waiter& waiter : waiters) claimants.push_back(std::move(waiter.claimant));
  }
  for (const std::shared_ptr<Claimant>& claimant : claimants) claimant->Stop(failure);
}

// What they wait for has come, and cannot be looked at: they would not be offered it again.
void Shard::StopToWake(const absl::Status& failure) {
  std::vector<std::shared_ptr<Claimant>> claimants;
  for (const CallKey& key : std::exchange(to_wake_, {})) {
    const auto found = waiters_.find(key);
    if (found == waiters_.end()) continue;
    for (Waiter& waiter : found->second) claimants.push_back(std::move(waiter.claimant));
    waiters_.erase(found);
  }
  for (const std::shared_ptr<Claimant>& claimant : claimants) claimant->Stop(failure);
}

}  // namespace mayfly
