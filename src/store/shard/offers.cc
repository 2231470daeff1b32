#include "store/shard/offers.h"

#include <algorithm>
#include <utility>

namespace mayfly {

void Offers::ServeWoken() {
  std::vector<std::shared_ptr<Claimant>> offered;
  for (const CallKey& key : shard_.waits_.TakeWoken()) {
    if (group_.Find(key)->stage != Group::Stage::kAnswered) {
      shard_.waits_.Wake(key);
      continue;
    }
    shard_.waits_.Serve(key, [&](const Waiter& waiter) {
      const std::shared_ptr<Claimant>& claimant = waiter.claimant;
      const Outcome outcome = Offer(claimant.get(), {.index = waiter.index, .key = key});
      if (outcome == Outcome::kWaitsForQuota) {
        shard_.waits_.StartTimer(claimant, group_.now().elapsed_ms + kQuotaRecheckMs);
      }
      if (offered.empty() || offered.back() != claimant) offered.push_back(claimant);
      return outcome == Outcome::kTaken;
    });
  }
  for (const std::shared_ptr<Claimant>& claimant : offered) claimant->OnOffered();
}

void Offers::Handle(std::vector<Registration> registrations) {
  for (Registration& registration : registrations) {
    if (registration.purpose != Registration::Purpose::kRegister) {
      Unregister(registration);
    } else if (HasUnansweredChange(registration)) {
      // The next group sees the calls as they are answered by then.
      shard_.delayed_.push_back(std::move(registration));
    } else {
      Register(registration);
    }
  }
}

bool Offers::HasUnansweredChange(const Registration& registration) const {
  return std::any_of(registration.calls.begin(), registration.calls.end(),
                     [this](const WantedCall& call) {
                       return group_.Find(call.key)->stage != Group::Stage::kAnswered;
                     });
}

void Offers::Register(const Registration& registration) {
  Claimant* const claimant = registration.claimant.get();
  const ClaimTerms& terms = claimant->terms();
  bool waits = false;
  bool waits_for_quota = false;
  for (const WantedCall& call : registration.calls) {
    const Outcome outcome = Offer(claimant, call);
    waits_for_quota |= outcome == Outcome::kWaitsForQuota;
    if (outcome == Outcome::kTaken || !terms.waits) continue;
    waits = true;
    if (shard_.draining_) continue;
    shard_.waits_.Add(call.key, {.claimant = registration.claimant, .index = call.index});
  }
  if (waits && shard_.draining_) claimant->Stop(absl::OkStatus());
  claimant->OnRegistered();
  const auto start_timer = [&](int64_t due_ms) {
    shard_.waits_.StartTimer(registration.claimant, due_ms);
  };
  if (waits_for_quota) start_timer(group_.now().elapsed_ms + kQuotaRecheckMs);
  if (waits && terms.wait_until_ms != 0) start_timer(terms.wait_until_ms);
}

void Offers::Unregister(const Registration& registration) {
  Claimant* const claimant = registration.claimant.get();
  if (registration.purpose == Registration::Purpose::kPassOn) {
    return shard_.claims_.ReplaceHolder(claimant, registration.successor.get());
  }
  RemoveWaits(registration);
  const bool releases = registration.purpose == Registration::Purpose::kRelease;
  // A poll has one registration, a subscription many.
  if (releases || claimant->terms().wait_until_ms != 0) shard_.waits_.CancelTimer(claimant);
  if (!releases) return;
  ReleaseClaimsOf(claimant);
  claimant->OnReleased();
}

// A later registration may have come first: a call that is wanted again keeps one of its waits.
void Offers::RemoveWaits(const Registration& registration) {
  Claimant* const claimant = registration.claimant.get();
  MutexLock lock(claimant->mutex());
  for (const WantedCall& call : registration.calls) {
    shard_.waits_.Remove(call.key, claimant, /*keeps_one=*/claimant->Wants(call));
  }
}

void Offers::ReleaseClaimsOf(const Claimant* holder) {
  for (const CallKey& key : shard_.claims_.EndClaimsOf(holder)) {
    if (Group::Entry* const entry = group_.Find(key)) entry->state.claim.reset();
    shard_.waits_.Wake(key);
  }
}

Offers::Outcome Offers::Offer(Claimant* claimant, const WantedCall& call) {
  const ClaimTerms& terms = claimant->terms();
  Group::Entry& entry = *group_.Find(call.key);

  MutexLock lock(claimant->mutex());
  if (!claimant->Wants(call)) return Outcome::kTaken;
  if (!entry.loaded.status.ok()) return OfferEnd(claimant, call, entry.loaded.status);
  const uint64_t fence = shard_.context_.fences.Next();
  Applied applied = Apply(entry.state,
                          ClaimOutput{.token = terms.token,
                                      .token_hash = terms.token_hash,
                                      .fence = fence,
                                      .lease_ms = terms.lease_ms},
                          group_.ContextFor(*terms.tenant));
  OperationResult& result = applied.result;
  if (!result.status.ok()) return OfferEnd(claimant, call, std::move(result.status));
  if (result.pending) {
    claimant->OnPending(call);
    return Outcome::kWaits;
  }
  if (!claimant->TakesOutput(call, result.payload->size_bytes)) return Outcome::kWaits;
  if (result.claim->fence == fence) {
    ClaimLease quota = terms.tenant->ledger.TakeClaim();
    if (quota.empty()) return RefuseForQuota(claimant, call);
    shard_.claims_.Add(call.key, *applied.state.claim, std::move(quota));
    group_.NoteClaimed(terms.tenant, call.key);
  } else {
    shard_.claims_.Update(call.key, entry.state.claim, applied.state.claim);
  }
  entry.state = std::move(applied.state);
  if (terms.holds_claims) shard_.claims_.SetHolder(call.key, claimant);
  claimant->AddClaim({.call = call,
                      .payload = *result.payload,
                      .claim = *result.claim,
                      .lease_end_ms = result.lease_end_ms});
  return Outcome::kTaken;
}

Offers::Outcome Offers::OfferEnd(Claimant* claimant, const WantedCall& call, absl::Status status) {
  const bool is_taken = claimant->TakeEnd({.call = call, .status = std::move(status)});
  return is_taken ? Outcome::kTaken : Outcome::kWaits;
}

Offers::Outcome Offers::RefuseForQuota(Claimant* claimant, const WantedCall& call) {
  const uint64_t claims_max = claimant->terms().tenant->ledger.limits().claims_max;
  const bool wants_timer = claimant->OnQuotaReached(
      call, TenantLedger::ClaimRefusal(claims_max, absl::Milliseconds(kQuotaRecheckMs)));
  return wants_timer ? Outcome::kWaitsForQuota : Outcome::kWaits;
}

}  // namespace mayfly
