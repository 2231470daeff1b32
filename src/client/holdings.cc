#include "client/holdings.h"

#include <utility>

#include "client/ack_operation.h"
#include "client/batch_call.h"
#include "client/batchers.h"
#include "client/rpcs.h"
#include "client/time_budget.h"

namespace mayfly::client {
namespace {

constexpr int kRenewalsPerLease = 3;
// Renewals that are due within this part of a lease go with those that are due.
constexpr int kRenewTogether = 12;

bool IsSame(const Claim& a, const Claim& b) { return a.fence == b.fence && a.token == b.token; }

}  // namespace

void Holdings::Hold(const std::shared_ptr<Core>& core, const ClaimedOutput& output,
                    absl::Duration lease) {
  MutexLock lock(&mutex_);
  core_ = core;
  Held& held = held_[output.claim.call_id];
  held.claim = output.claim;
  held.version = VersionOf(output);
  held.lease = lease;
  if (held.ack != nullptr) return;
  ScheduleRenewal(&held);
  renewal_deadline_.SetNoLaterThan(renewals_.Earliest(), weak_from_this());
}

bool Holdings::IsHeld(const std::string& call_id) {
  MutexLock lock(&mutex_);
  return held_.contains(call_id);
}

bool Holdings::Holds(const Claim& claim) {
  MutexLock lock(&mutex_);
  return Find(claim) != nullptr;
}

void Holdings::Forget(const Claim& claim) {
  {
    MutexLock lock(&mutex_);
    if (Find(claim) == nullptr) return;
    Erase(claim.call_id);
  }
  if (on_free_ != nullptr) on_free_(claim.call_id);
}

void Holdings::ForgetAll() {
  MutexLock lock(&mutex_);
  held_.clear();
  renewals_.Clear();
  renewal_deadline_.Clear();
}

void Holdings::Ack(const std::shared_ptr<Core>& core, Claim claim, absl::Duration timeout,
                   const std::optional<Cancellation>& cancellation, AckDone done) {
  if (!Holds(claim)) {
    return core->batchers()->ack_outputs()->Submit(core, std::move(claim), timeout, cancellation,
                                                   std::move(done));
  }
  const auto ack = std::make_shared<AckOperation>(shared_from_this(), core, std::move(claim),
                                                  timeout, std::move(done));
  if (!ack->CancelWith(cancellation)) return;
  ack->SetDeadline(ack->end());
  {
    MutexLock lock(&mutex_);
    if (ack->IsFinished()) return;
    if (Held* const held = Find(ack->claim())) {
      ack->set_version(held->version);
      held->ack = ack;
      StopRenewing(held);
    }
  }
  ack->Send(core);
}

void Holdings::Release(const std::shared_ptr<Core>& core, Claim claim, absl::Duration timeout,
                       const std::optional<Cancellation>& cancellation, ReleaseDone done) {
  ReleaseDone forget = [self = shared_from_this(), claim,
                        done = std::move(done)](absl::Status status) mutable {
    self->Forget(claim);
    self = nullptr;
    done(std::move(status));
  };
  core->batchers()->release_outputs()->Submit(core, std::move(claim), timeout, cancellation,
                                              std::move(forget));
}

Holdings::Held* Holdings::Find(const Claim& claim) {
  const auto found = held_.find(claim.call_id);
  return found != held_.end() && IsSame(found->second.claim, claim) ? &found->second : nullptr;
}

void Holdings::Erase(const std::string& call_id) {
  const auto found = held_.find(call_id);
  if (found == held_.end()) return;
  StopRenewing(&found->second);
  held_.erase(found);
}

void Holdings::ScheduleRenewal(Held* held) {
  StopRenewing(held);
  held->renewal = renewals_.Add(Elapsed() + held->lease / kRenewalsPerLease, held->claim.call_id);
}

void Holdings::StopRenewing(Held* held) {
  if (held->renewal.has_value()) renewals_.Remove(*held->renewal);
  held->renewal.reset();
}

void Holdings::OnDeadline() {
  std::shared_ptr<Core> core;  // not dropped under the lock
  MutexLock lock(&mutex_);
  renewal_deadline_.Clear();
  core = core_.lock();
  if (core == nullptr) return;
  for (auto& [lease, claims] : TakeDue()) Renew(core, lease, std::move(claims));
  renewal_deadline_.Set(renewals_.Earliest(), weak_from_this());
}

std::map<absl::Duration, std::vector<Claim>> Holdings::TakeDue() {
  std::map<absl::Duration, std::vector<Claim>> due;
  const absl::Duration now = Elapsed();
  // Each claim once, however short its lease is.
  for (size_t left = renewals_.size(); left > 0; --left) {
    Held& held = held_.find(*renewals_.First())->second;
    if (renewals_.Earliest() - held.lease / kRenewTogether > now) break;
    due[held.lease].push_back(held.claim);
    ScheduleRenewal(&held);
  }
  return due;
}

// The answer comes later, on this thread: the lock may be held.
void Holdings::Renew(const std::shared_ptr<Core>& core, absl::Duration lease,
                     std::vector<Claim> claims) {
  v1::RenewClaimsRequest prototype;
  ToProto(lease, prototype.mutable_lease());
  std::vector<Claim> renewed = claims;
  BatchCall<RenewClaimsRpc>::Start(
      core, std::move(claims), std::move(prototype), TimeBudget(lease / kRenewalsPerLease),
      [weak = weak_from_this(),
       renewed = std::move(renewed)](const std::vector<RenewClaimsRpc::Result>& results) {
        const auto self = weak.lock();
        if (self == nullptr) return;
        for (size_t i = 0; i < results.size(); ++i) {
          self->OnRenewed(renewed[i], results[i].status());
        }
      });
}

void Holdings::OnRenewed(const Claim& claim, const absl::Status& status) {
  if (status.ok() || absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) return;
  // The claim cannot be renewed any more. Its ack will find out why.
  bool is_free = false;
  {
    MutexLock lock(&mutex_);
    Held* const held = Find(claim);
    if (held == nullptr) return;
    StopRenewing(held);
    is_free = absl::IsNotFound(status) && held->ack == nullptr;
    if (is_free) Erase(claim.call_id);
  }
  if (is_free && on_free_ != nullptr) on_free_(claim.call_id);
}

void Holdings::OnAckEnd(const AckOperation* ack) {
  const std::string& call_id = ack->claim().call_id;
  bool is_free = false;
  {
    MutexLock lock(&mutex_);
    const auto found = held_.find(call_id);
    is_free = found != held_.end() && found->second.ack.get() == ack;
    if (is_free) Erase(call_id);
  }
  if (is_free && on_free_ != nullptr) on_free_(call_id);
}

}  // namespace mayfly::client
