#include "store/shard/wait_list.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace mayfly {

void WaitList::Add(const CallKey& key, Waiter waiter) {
  waiters_[key].push_back(std::move(waiter));
}

void WaitList::Remove(const CallKey& key, const Claimant* claimant, bool keeps_one) {
  const auto found = waiters_.find(key);
  if (found == waiters_.end()) return;
  Waiters& waiters = found->second;
  const auto leaves = [&](const Waiter& waiter) {
    return waiter.claimant.get() == claimant && !std::exchange(keeps_one, false);
  };
  waiters.erase(std::remove_if(waiters.begin(), waiters.end(), leaves), waiters.end());
  if (waiters.empty()) waiters_.erase(found);
}

std::vector<std::shared_ptr<Claimant>> WaitList::TakeAll(const CallKey& key) {
  std::vector<std::shared_ptr<Claimant>> claimants;
  const auto found = waiters_.find(key);
  if (found == waiters_.end()) return claimants;
  for (Waiter& waiter : found->second) claimants.push_back(std::move(waiter.claimant));
  waiters_.erase(found);
  return claimants;
}

std::vector<std::shared_ptr<Claimant>> WaitList::TakeAll() {
  std::vector<std::shared_ptr<Claimant>> claimants;
  for (auto& [key, waiters] : std::exchange(waiters_, {})) {
    for (Waiter& waiter : waiters) claimants.push_back(std::move(waiter.claimant));
  }
  return claimants;
}

void WaitList::Wake(const CallKey& key) {
  if (waiters_.contains(key)) woken_.push_back(key);
}

std::vector<CallKey> WaitList::TakeWoken() { return std::exchange(woken_, {}); }

void WaitList::Serve(const CallKey& key, absl::FunctionRef<bool(const Waiter&)> offer) {
  const auto found = waiters_.find(key);
  if (found == waiters_.end()) return;
  Waiters waiting;
  for (Waiter& waiter : found->second) {
    if (!offer(waiter)) waiting.push_back(std::move(waiter));
  }
  if (waiting.empty()) {
    waiters_.erase(found);
  } else {
    found->second = std::move(waiting);
  }
}

void WaitList::StartTimer(const std::shared_ptr<Claimant>& claimant, int64_t due_ms) {
  CancelTimer(claimant.get());
  const uint64_t number = ++last_timer_;
  const auto handle = wheel_.Schedule(std::min(due_ms, wheel_.horizon_ms()), number);
  Check(handle.has_value(), "a wait lies within the wheel's horizon");
  claimant_by_timer_[number] = {.claimant = claimant.get(), .alive = claimant};
  timer_by_claimant_[claimant.get()] = {.number = number, .handle = *handle};
}

// Without this a poll that was answered would keep its memory until its wait would have ended.
void WaitList::CancelTimer(const Claimant* claimant) {
  const auto found = timer_by_claimant_.find(claimant);
  if (found == timer_by_claimant_.end()) return;
  wheel_.Cancel(found->second.handle);
  claimant_by_timer_.erase(found->second.number);
  timer_by_claimant_.erase(found);
}

std::vector<std::shared_ptr<Claimant>> WaitList::TakeDue(int64_t now_ms) {
  std::vector<std::shared_ptr<Claimant>> claimants;
  std::vector<uint64_t> due;
  wheel_.Advance(now_ms, kTimersMax, &due);
  for (const uint64_t number : due) {
    const auto found = claimant_by_timer_.find(number);
    std::shared_ptr<Claimant> claimant = found->second.alive.lock();
    timer_by_claimant_.erase(found->second.claimant);
    claimant_by_timer_.erase(found);
    if (claimant != nullptr) claimants.push_back(std::move(claimant));
  }
  return claimants;
}

}  // namespace mayfly
