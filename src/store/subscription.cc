#include "store/subscription.h"

#include <algorithm>

#include "base/error.h"

namespace mayfly {
namespace {

// Credit adds up to no more than this, so that it cannot overflow.
constexpr int64_t kCreditMax = int64_t{1} << 60;

int64_t AddCredit(int64_t credit, uint64_t granted) {
  const auto bounded = static_cast<int64_t>(std::min(granted, static_cast<uint64_t>(kCreditMax)));
  return std::min(credit + bounded, kCreditMax);
}

}  // namespace

// ---- For the owner

bool Subscription::Add(const std::vector<CallId>& call_ids) {
  return AddCalls(call_ids, /*are_bounded=*/true);
}

bool Subscription::AddCalls(const std::vector<CallId>& call_ids, bool are_bounded) {
  std::vector<CallId> added;
  bool fits = true;
  {
    MutexLock lock(&mutex_);
    if (over_ || !stop_.ok()) return true;
    for (const CallId& call_id : call_ids) {
      if (calls_.try_emplace(call_id, 0).second) added.push_back(call_id);
    }
    fits = !are_bounded || terms().tenant->ledger.AllowsSubscriptions(calls_.size());
    if (!fits) {
      for (const CallId& call_id : added) calls_.erase(call_id);
    }
  }
  if (!fits || added.empty()) return fits;
  const size_t registrations = host_->Register(shared_from_this(), added);
  MutexLock lock(&mutex_);
  registrations_ += static_cast<int64_t>(registrations);
  return true;
}

uint64_t Subscription::call_count() {
  MutexLock lock(&mutex_);
  return calls_.size();
}

bool Subscription::IsBehind() {
  MutexLock lock(&mutex_);
  return registrations_ > kRegistrationsMax;
}

void Subscription::Remove(const std::vector<CallId>& call_ids) {
  std::vector<CallId> removed;
  std::vector<CallId> to_recheck;
  {
    MutexLock lock(&mutex_);
    for (const CallId& call_id : call_ids) {
      if (!calls_.contains(call_id)) continue;
      Forget(call_id);
      removed.push_back(call_id);
    }
    // Those that were offered may be among them: others get their turn.
    if (!removed.empty()) to_recheck = CallsToRecheck();
  }
  if (!removed.empty()) host_->Unregister(shared_from_this(), removed);
  if (!to_recheck.empty()) host_->Recheck(*terms().tenant, to_recheck);
}

void Subscription::Grant(uint64_t item_count, uint64_t bytes) {
  std::vector<CallId> to_recheck;
  {
    MutexLock lock(&mutex_);
    credit_items_ = AddCredit(credit_items_, item_count);
    credit_bytes_ = AddCredit(credit_bytes_, bytes);
    to_recheck = CallsToRecheck();
  }
  if (!to_recheck.empty()) host_->Recheck(*terms().tenant, to_recheck);
}

void Subscription::Sent(uint64_t item_count, uint64_t bytes) {
  std::vector<CallId> to_recheck;
  {
    MutexLock lock(&mutex_);
    unsent_items_ -= static_cast<int64_t>(item_count);
    unsent_bytes_ -= static_cast<int64_t>(bytes);
    to_recheck = CallsToRecheck();
  }
  if (!to_recheck.empty()) host_->Recheck(*terms().tenant, to_recheck);
}

void Subscription::Retry() {
  std::vector<CallId> to_recheck;
  {
    MutexLock lock(&mutex_);
    if (!std::exchange(blocked_, false)) return;
    to_recheck = CallsToRecheck();
  }
  if (!to_recheck.empty()) host_->Recheck(*terms().tenant, to_recheck);
}

void Subscription::Stop(const absl::Status& why) {
  {
    MutexLock lock(&mutex_);
    if (!stop_.ok()) return;
    stop_ = why.ok() ? DrainingError() : why;
    if (!BeginDelivery()) return;
  }
  host_->ScheduleDelivery(shared_from_this());
}

void Subscription::End(ClaimsAtEnd claims, absl::AnyInvocable<void()> done) {
  std::vector<CallId> call_ids;
  absl::AnyInvocable<void(Delivery)> dropped;
  {
    MutexLock lock(&mutex_);
    over_ = true;
    released_ = std::move(done);
    for (const auto& [call_id, place] : std::exchange(calls_, {})) call_ids.push_back(call_id);
    ready_.clear();
    ended_later_.clear();
    claimed_.clear();
    ended_.clear();
    if (!delivering_) dropped = std::exchange(on_delivery_, nullptr);
  }
  host_->Part(shared_from_this(), call_ids, claims);
}

// ---- For the host

bool Subscription::BeginDelivery() {
  const bool has_news = !claimed_.empty() || !ended_.empty() || (!stop_.ok() && !stop_delivered_);
  if (over_ || delivering_ || !has_news) return false;
  delivering_ = true;
  return true;
}

bool Subscription::TakeNews(News* news) {
  absl::AnyInvocable<void(Delivery)> dropped;
  MutexLock lock(&mutex_);
  news->claimed = std::exchange(claimed_, {});
  news->ended = std::exchange(ended_, {});
  if (!news->claimed.empty() || !news->ended.empty()) return true;
  if (!over_ && !stop_.ok() && !stop_delivered_) {
    stop_delivered_ = true;
    news->stop = stop_;
    return true;
  }
  delivering_ = false;
  if (over_) dropped = std::exchange(on_delivery_, nullptr);
  return false;
}

void Subscription::Deliver(Delivery delivery, uint64_t lost_count, uint64_t lost_bytes) {
  {
    MutexLock lock(&mutex_);
    if (over_) return;
    // An output that was not there any more is an ended call, which needs no credit.
    credit_items_ = AddCredit(credit_items_, lost_count);
    credit_bytes_ = AddCredit(credit_bytes_, lost_bytes);
    unsent_bytes_ -= static_cast<int64_t>(lost_bytes);
  }
  const bool is_empty = delivery.outputs.empty() && delivery.ended.empty() && delivery.status.ok();
  if (!is_empty) on_delivery_(std::move(delivery));
}

void Subscription::WantAgain(const std::vector<CallId>& call_ids) {
  {
    MutexLock lock(&mutex_);
    // Nothing of them is sent.
    unsent_items_ -= static_cast<int64_t>(call_ids.size());
  }
  // They were among its calls.
  (void)AddCalls(call_ids, /*are_bounded=*/false);
}

// ---- For shards

bool Subscription::Wants(const WantedCall& call) {
  return !over_ && stop_.ok() && calls_.contains(call.key.id);
}

bool Subscription::TakesOutput(const WantedCall& call, uint64_t) {
  // What was granted for those that have waited for it is not for one that comes later.
  const bool has_turn = ready_.empty() || ready_.contains(calls_.at(call.key.id));
  if (has_turn && HasRoom() && HasCredit()) return true;
  Postpone(call.key.id, &ready_);
  return false;
}

bool Subscription::TakeEnd(NewEnd end) {
  if (!HasRoom()) {
    Postpone(end.call.key.id, &ended_later_);
    return false;
  }
  ++unsent_items_;
  Forget(end.call.key.id);
  ended_.push_back(std::move(end));
  return true;
}

void Subscription::OnPending(const WantedCall& call) { LeavePlace(&calls_.at(call.key.id)); }

bool Subscription::OnQuotaReached(const WantedCall& call, absl::Status) {
  Postpone(call.key.id, &ready_);
  blocked_ = true;
  return !std::exchange(has_timer_, true);
}

void Subscription::AddClaim(NewClaim claim) {
  const uint64_t size_bytes = claim.payload.size_bytes;
  const auto bytes = static_cast<int64_t>(size_bytes <= limits_.bytes_max ? size_bytes : 0);
  --credit_items_;
  credit_bytes_ -= bytes;
  ++unsent_items_;
  unsent_bytes_ += bytes;
  Forget(claim.call.key.id);
  claimed_.push_back(std::move(claim));
}

void Subscription::OnRegistered() {
  {
    MutexLock lock(&mutex_);
    // Which may be before Add has counted it.
    --registrations_;
  }
  OnOffered();
}

void Subscription::OnOffered() {
  bool delivers = false;
  std::vector<CallId> to_recheck;
  {
    MutexLock lock(&mutex_);
    delivers = BeginDelivery();
    // What was looked at may have made way for what comes after it.
    to_recheck = CallsToRecheck();
  }
  if (delivers) host_->ScheduleDelivery(shared_from_this());
  if (!to_recheck.empty()) host_->Recheck(*terms().tenant, to_recheck);
}

bool Subscription::OnTimer() {
  std::vector<CallId> to_recheck;
  {
    MutexLock lock(&mutex_);
    has_timer_ = false;
    if (over_ || !blocked_) return false;
    const bool could_claim = stop_.ok() && !ready_.empty() && HasRoom() && HasCredit();
    if (could_claim && QuotaLeft() <= 0) return has_timer_ = true;
    blocked_ = false;
    to_recheck = CallsToRecheck();
  }
  if (!to_recheck.empty()) host_->Recheck(*terms().tenant, to_recheck);
  return false;
}

void Subscription::OnReleased() {
  absl::AnyInvocable<void()> released;
  {
    MutexLock lock(&mutex_);
    // What waited for a successor is released after the end.
    if (shards_left_ == 0 || --shards_left_ > 0) return;
    released = std::exchange(released_, nullptr);
  }
  host_->OnAllReleased(std::move(released));
}

// ---- Places, room and credit

void Subscription::Postpone(const CallId& call_id, Places* places) {
  uint64_t& place = calls_.at(call_id);
  if (places->contains(place)) return;
  LeavePlace(&place);
  place = ++last_place_;
  places->emplace(place, call_id);
}

void Subscription::LeavePlace(uint64_t* place) {
  if (*place == 0) return;
  if (ready_.erase(*place) == 0) ended_later_.erase(*place);
  *place = 0;
}

void Subscription::Forget(const CallId& call_id) {
  const auto call = calls_.find(call_id);
  LeavePlace(&call->second);
  calls_.erase(call);
}

bool Subscription::HasRoom() const {
  return unsent_items_ < kUnsentItemsMax && unsent_bytes_ < kUnsentBytesMax;
}

bool Subscription::HasCredit() const { return credit_items_ > 0 && credit_bytes_ > 0; }

int64_t Subscription::QuotaLeft() const { return terms().tenant->ledger.claims_left(); }

std::vector<CallId> Subscription::CallsToRecheck() const {
  std::vector<CallId> call_ids;
  if (over_ || !stop_.ok() || !HasRoom()) return call_ids;
  const int64_t room = kUnsentItemsMax - unsent_items_;
  const auto offer = [&call_ids](const Places& places, int64_t count_max) {
    for (const auto& [place, call_id] : places) {
      if (count_max-- <= 0) break;
      call_ids.push_back(call_id);
    }
  };
  offer(ended_later_, room);
  // One more than the quota allows is refused, which sets the timer.
  const int64_t quota = std::max(QuotaLeft(), int64_t{1});
  if (HasCredit() && !blocked_) offer(ready_, std::min({room, credit_items_, quota}));
  return call_ids;
}

}  // namespace mayfly
