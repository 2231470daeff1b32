#include "rpc/reset_budget.h"

#include <algorithm>

namespace mayfly {

bool ResetBudget::Take(absl::Duration now) {
  if (!HasRoom(now)) return false;
  whole_at_ = std::max(whole_at_, now) + cost_;
  return true;
}

bool SharedResetBudgets::Take(const ResetPeer& peer, absl::Duration now) {
  MutexLock lock(&mutex_);
  ResetBudget* const address = addresses_.Of(peer.address, now);
  ResetBudget* const tenant = tenants_.Of(peer.tenant, now);
  if (address != nullptr && !address->HasRoom(now)) return false;
  if (tenant != nullptr && !tenant->Take(now)) return false;
  if (address != nullptr) address->Take(now);
  taken_count_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

size_t SharedResetBudgets::budget_count() const {
  MutexLock lock(&mutex_);
  return addresses_.size() + tenants_.size();
}

ResetBudget* SharedResetBudgets::Budgets::Of(const std::string& name, absl::Duration now) {
  if (name.empty()) return nullptr;
  const auto found = by_name_.find(name);
  if (found != by_name_.end()) return &found->second;
  if (by_name_.size() >= forget_at_) {
    std::erase_if(by_name_, [now](const auto& entry) { return entry.second.IsWhole(now); });
    forget_at_ = std::max(kForgetAtMin, 2 * by_name_.size());
  }
  return &by_name_.emplace(name, kPeerResets).first->second;
}

}  // namespace mayfly
