#include "client/holdings.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "client/batch.h"
#include "client/claim_poll.h"
#include "client/rpcs.h"
#include "client/singles.h"
#include "client/time_budget.h"

namespace mayfly::client {
namespace {

// Each round has lost a claim to a restart or a lapse; a server that never lets an ack through is
// not worth more.
constexpr int kRoundsMax = 10;

// Renewals that are due soon go with those that are due.
constexpr int kRenewTogether = 12;  // parts of a lease

absl::Status ClaimLostError(absl::string_view why) {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kClaimLost,
                   absl::StrCat("the claim was lost before the ack, and ", why));
}

bool IsSame(const Claim& a, const Claim& b) { return a.fence == b.fence && a.token == b.token; }

}  // namespace

Holdings::~Holdings() {
  if (timer_ != nullptr) timer_->Stop();
}

void Holdings::Hold(const std::shared_ptr<Core>& core, const ClaimedOutput& output,
                    absl::Duration lease) {
  MutexLock lock(&mutex_);
  Held& held = held_[output.claim.call_id];
  held.claim = output.claim;
  held.identity = {.attempt = output.attempt, .size_bytes = output.size_bytes};
  held.lease = lease;
  held.renew_at = Elapsed() + lease / 3;
  SetTimer(core, held.renew_at);
}

bool Holdings::IsHeld(const std::string& call_id) {
  MutexLock lock(&mutex_);
  return held_.contains(call_id);
}

bool Holdings::Holds(const Claim& claim) {
  MutexLock lock(&mutex_);
  const auto found = held_.find(claim.call_id);
  return found != held_.end() && IsSame(found->second.claim, claim);
}

void Holdings::Forget(const Claim& claim) {
  {
    MutexLock lock(&mutex_);
    const auto found = held_.find(claim.call_id);
    if (found == held_.end() || !IsSame(found->second.claim, claim)) return;
    held_.erase(found);
  }
  if (on_free_ != nullptr) on_free_(claim.call_id);
}

void Holdings::ForgetAll() {
  MutexLock lock(&mutex_);
  held_.clear();
  // It keeps the core's thread.
  if (timer_ != nullptr) timer_->Stop();
}

void Holdings::Ack(const std::shared_ptr<Core>& core, Claim claim, absl::Duration timeout,
                   const std::optional<Cancellation>& cancellation, AckDone done) {
  if (cancellation.has_value() && cancellation->IsCancelled()) {
    return Dispatcher::Post(core->dispatcher(),
                            [done = std::move(done)]() mutable { done(CancelledByCaller()); });
  }
  auto op = std::make_shared<AckOp>();
  op->core = core;
  op->claim = std::move(claim);
  op->timeout = timeout;
  op->deadline = Elapsed() + timeout;
  op->done = std::move(done);
  {
    MutexLock lock(&mutex_);
    const auto found = held_.find(op->claim.call_id);
    if (found != held_.end() && IsSame(found->second.claim, op->claim)) {
      op->identity = found->second.identity;
      found->second.ack = op;
      SetTimer(core, op->deadline);
    }
  }
  if (cancellation.has_value()) {
    std::weak_ptr<Holdings> weak = weak_from_this();
    std::weak_ptr<Dispatcher> weak_dispatcher = core->dispatcher();
    std::weak_ptr<AckOp> weak_op = op;
    op->hook = CancellationHook(cancellation, [weak, weak_dispatcher, weak_op] {
      const auto dispatcher = weak_dispatcher.lock();
      if (dispatcher == nullptr) return;
      Dispatcher::Post(dispatcher, [weak, weak_op] {
        const auto self = weak.lock();
        const auto cancelled = weak_op.lock();
        if (self != nullptr && cancelled != nullptr) self->End(cancelled, CancelledByCaller());
      });
    });
  }
  // From here on the op is the core's thread's, which may end it at any time.
  if (!op->identity.has_value()) return AckBySelf(core, op);
  AckDone on_stream = [self = shared_from_this(), op](absl::StatusOr<absl::Time> result) {
    if (op->ended) return;
    if (absl::IsUnavailable(result.status())) return self->AckBySelf(op->core, op);
    self->OnAcked(op, std::move(result));
  };
  if (!feed_->Ack(op->claim, &on_stream)) AckBySelf(core, op);
}

void Holdings::Release(const std::shared_ptr<Core>& core, Claim claim, absl::Duration timeout,
                       const std::optional<Cancellation>& cancellation, ReleaseDone done) {
  ReleaseDone forget = [self = shared_from_this(), claim,
                        done = std::move(done)](absl::Status status) mutable {
    self->Forget(claim);
    self = nullptr;
    done(std::move(status));
  };
  if (feed_->Release(claim, &forget)) return;
  core->singles()->release_outputs()->Submit(core, std::move(claim), timeout, cancellation,
                                             std::move(forget));
}

void Holdings::SetTimer(const std::shared_ptr<Core>& core, absl::Duration due) {
  if (due >= timer_due_) return;
  timer_due_ = due;
  core_ = core;
  if (timer_ == nullptr) {
    timer_ = std::make_shared<Timer>([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->OnTime();
    });
  }
  timer_->SetNoLaterThan(core->dispatcher(), due);
}

void Holdings::OnTime() {
  std::vector<Op> expired;
  std::map<absl::Duration, std::vector<Claim>> due;
  std::shared_ptr<Core> core;  // not dropped under the lock
  {
    MutexLock lock(&mutex_);
    timer_due_ = absl::InfiniteDuration();
    core = core_.lock();
    if (core == nullptr) return;
    const absl::Duration now = Elapsed();
    absl::Duration next = absl::InfiniteDuration();
    for (auto& [call_id, held] : held_) {
      if (held.ack != nullptr) {
        if (held.ack->deadline <= now) expired.push_back(held.ack);
        if (held.ack->deadline > now) next = std::min(next, held.ack->deadline);
        continue;
      }
      if (held.renew_at - held.lease / kRenewTogether <= now) {
        due[held.lease].push_back(held.claim);
        held.renew_at = now + held.lease / 3;
      }
      next = std::min(next, held.renew_at);
    }
    if (next < absl::InfiniteDuration()) SetTimer(core, next);
    for (auto& [lease, claims] : due) Renew(core, lease, std::move(claims));
  }
  core = nullptr;
  for (const Op& op : expired) End(op, NoAnswerWithin(op->timeout));
}

// The answer comes later, on this thread: the lock may be held.
void Holdings::Renew(const std::shared_ptr<Core>& core, absl::Duration lease,
                     std::vector<Claim> claims) {
  v1::RenewClaimsRequest prototype;
  ToProto(lease, prototype.mutable_lease());
  std::vector<Claim> renewed = claims;
  Batch<RenewClaimsRpc>::Start(core, std::move(claims), std::move(prototype), TimeBudget(lease / 3),
                               [weak = weak_from_this(), renewed = std::move(renewed)](
                                   const std::vector<RenewClaimsRpc::Result>& results) {
                                 const auto self = weak.lock();
                                 if (self == nullptr) return;
                                 for (size_t i = 0; i < results.size(); ++i) {
                                   self->OnRenewed(renewed[i], results[i].status());
                                 }
                               });
}

void Holdings::OnRenewed(const Claim& claim, const absl::Status& status) {
  if (status.ok() || absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) return;
  // Final: the ack will tell what became of the claim.
  MutexLock lock(&mutex_);
  const auto found = held_.find(claim.call_id);
  if (found == held_.end() || !IsSame(found->second.claim, claim)) return;
  found->second.renew_at = absl::InfiniteDuration();
  if (absl::IsNotFound(status) && found->second.ack == nullptr) held_.erase(found);
}

void Holdings::AckBySelf(const std::shared_ptr<Core>& core, const Op& op) {
  const absl::Duration left = std::max(absl::ZeroDuration(), op->deadline - Elapsed());
  core->singles()->ack_outputs()->Submit(
      core, op->claim, left, std::nullopt,
      [self = shared_from_this(), op](absl::StatusOr<absl::Time> result) {
        self->OnAcked(op, std::move(result));
      });
}

void Holdings::OnAcked(const Op& op, absl::StatusOr<absl::Time> result) {
  if (op->ended) return;
  const bool is_lost = ReasonOf(result.status()) == Reason::kClaimLost;
  if (is_lost && op->identity.has_value() && ++op->rounds < kRoundsMax) return ClaimAgain(op);
  if (absl::IsDeadlineExceeded(result.status())) result = NoAnswerWithin(op->timeout);
  End(op, std::move(result));
}

void Holdings::ClaimAgain(const Op& op) {
  // The token is the same, so that an ack that was carried out after all is recognised as this one.
  ClaimPoll::Begin(op->core, {op->claim.call_id},
                   {.count_max = 1,
                    .bytes_max = 1,
                    .claim_larger = true,
                    .token = op->claim.token,
                    .timeout = std::max(absl::Milliseconds(1), op->deadline - Elapsed())},
                   [self = shared_from_this(), op, weak_core = std::weak_ptr<Core>(op->core)](
                       absl::StatusOr<ClaimedOutputs> claimed) {
                     self->OnClaimedAgain(weak_core, op, std::move(claimed));
                   });
}

void Holdings::OnClaimedAgain(const std::weak_ptr<Core>& weak_core, const Op& op,
                              absl::StatusOr<ClaimedOutputs> claimed) {
  if (!claimed.ok()) return End(op, claimed.status());
  if (!claimed->errors.empty()) return End(op, claimed->errors[0].status);
  if (claimed->outputs.empty()) return End(op, ClaimLostError("another client has it now"));
  ClaimedOutput& output = claimed->outputs[0];
  const Identity identity{.attempt = output.attempt, .size_bytes = output.size_bytes};
  if (!op->ended && identity == op->identity) {
    op->claim.token = std::move(output.claim.token);
    op->claim.fence = output.claim.fence;
    return AckBySelf(op->core, op);
  }
  const std::shared_ptr<Core> core = weak_core.lock();
  if (core == nullptr) return;  // nobody has the client any more: the claim lapses
  core->singles()->release_outputs()->Submit(
      core, std::move(output.claim), op->timeout, std::nullopt,
      [self = shared_from_this(), op](const absl::Status&) {
        self->End(op, ClaimLostError("a later attempt replaced the output"));
      });
}

void Holdings::End(const Op& op, absl::StatusOr<absl::Time> result) {
  if (op->ended) return;
  op->ended = true;
  bool is_free = false;
  {
    MutexLock lock(&mutex_);
    const auto found = held_.find(op->claim.call_id);
    is_free = found != held_.end() && found->second.ack == op;
    if (is_free) held_.erase(found);
  }
  if (is_free && on_free_ != nullptr) on_free_(op->claim.call_id);
  AckDone done = std::move(op->done);
  op->core = nullptr;
  done(std::move(result));
}

}  // namespace mayfly::client
