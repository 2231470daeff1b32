#include "store/tenant.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace mayfly {
ApplyContext RetentionContext(const Tenant& tenant, const Now& now) {
  const TenantPolicy& policy = tenant.policy();
  return ApplyContext{
      .now = now,
      .max_ttl_ms = policy.max_ttl_ms(),
      .dead_before_ms = policy.dead_before_ms,
      .tombstone_ttl_ms = policy.tombstone_ttl_ms(),
  };
}

absl::Status Tenants::Start(const Now& now) {
  auto records = registry_->Tenants();
  RETURN_IF_ERROR(records.status());
  MutexLock lock(&mutex_);
  for (auto& [name, record] : *records) {
    const int64_t max_ttl_ms = absl::ToInt64Milliseconds(config_.RetentionFor(name).max_ttl);
    if (max_ttl_ms > record.max_ttl_ms && now.erase_ms == Now::kNeverMs) {
      postponed_.emplace(name, record);
    } else if (max_ttl_ms > record.max_ttl_ms) {
      RETURN_IF_ERROR(Raise(name, now, &record));
    } else if (max_ttl_ms < record.max_ttl_ms) {
      record.max_ttl_ms = max_ttl_ms;
      RETURN_IF_ERROR(registry_->UpdateTenant(name, record));
    }
    Insert(name, record);
  }
  auto usage = registry_->LoadUsage();
  RETURN_IF_ERROR(usage.status());
  for (const TenantUsage& used : *usage) {
    const auto found = by_number_.find(used.tenant);
    if (found == by_number_.end()) continue;
    const RowCount rows = {.calls = used.live_calls, .bytes = used.live_bytes};
    found->second->ledger.Add(rows);
    found->second->ledger.AddLive(rows);
  }
  return absl::OkStatus();
}

absl::Status Tenants::Raise(absl::string_view name, const Now& now, TenantRecord* record) {
  // What the old limit has ended stays ended under a longer one.
  record->dead_before_ms = std::max(record->dead_before_ms, now.erase_ms - record->max_ttl_ms);
  record->max_ttl_ms = absl::ToInt64Milliseconds(config_.RetentionFor(name).max_ttl);
  return registry_->UpdateTenant(name, *record);
}

absl::StatusOr<std::vector<std::string>> Tenants::ApplyPostponed(const Now& now) {
  std::vector<std::string> applied;
  if (now.erase_ms == Now::kNeverMs) return applied;
  MutexLock lock(&mutex_);
  while (!postponed_.empty()) {
    auto& [name, record] = *postponed_.begin();
    RETURN_IF_ERROR(Raise(name, now, &record));
    by_name_.find(name)->second->SetPolicy(PolicyFor(name, record));
    applied.push_back(name);
    postponed_.erase(postponed_.begin());
  }
  return applied;
}

std::vector<std::string> Tenants::Postponed() {
  MutexLock lock(&mutex_);
  std::vector<std::string> names;
  for (const auto& [name, record] : postponed_) names.push_back(name);
  return names;
}

absl::StatusOr<Tenant*> Tenants::Resolve(absl::string_view name) {
  const std::string key(name);
  const auto find = [&]() -> Tenant* {
    MutexLock lock(&mutex_);
    const auto found = by_name_.find(key);
    return found == by_name_.end() ? nullptr : found->second.get();
  };
  if (Tenant* const known = find()) return known;
  // Writing the record takes a sync, which no other RPC waits for.
  MutexLock create_lock(&create_mutex_);
  if (Tenant* const known = find()) return known;
  const int64_t max_ttl_ms = absl::ToInt64Milliseconds(config_.RetentionFor(name).max_ttl);
  const auto record = registry_->ResolveTenant(name, max_ttl_ms);
  RETURN_IF_ERROR(record.status());
  MutexLock lock(&mutex_);
  return Insert(name, *record);
}

Tenant* Tenants::ByNumber(TenantNumber number) {
  MutexLock lock(&mutex_);
  const auto found = by_number_.find(number);
  return found == by_number_.end() ? nullptr : found->second;
}

std::vector<Tenant*> Tenants::All() {
  MutexLock lock(&mutex_);
  std::vector<Tenant*> all;
  for (const auto& [number, tenant] : by_number_) all.push_back(tenant);
  return all;
}

TenantPolicy Tenants::PolicyFor(absl::string_view name, const TenantRecord& record) const {
  TenantPolicy policy = {.retention = config_.RetentionFor(name),
                         .dead_before_ms = record.dead_before_ms};
  // A raised one is put off until the record has it.
  policy.retention.max_ttl =
      std::min(policy.retention.max_ttl, absl::Milliseconds(record.max_ttl_ms));
  policy.retention.default_ttl = std::min(policy.retention.default_ttl, policy.retention.max_ttl);
  return policy;
}

QuotaLimits Tenants::LimitsFor(absl::string_view name) const {
  const Config::TenantLimits limits = config_.LimitsFor(name);
  return {.live_calls_max = limits.live_calls_max,
          .live_bytes_max = limits.live_bytes_max,
          .operations_per_second_max = limits.operations_per_second_max,
          .claims_max = limits.claims_max,
          .uploads_max = config_.limits.uploads_max,
          .stream_subscriptions_max = config_.limits.stream_subscriptions_max};
}

Tenant* Tenants::Insert(absl::string_view name, const TenantRecord& record) {
  auto tenant =
      std::make_unique<Tenant>(name, record.number, PolicyFor(name, record), LimitsFor(name));
  Tenant* const inserted = tenant.get();
  by_number_[record.number] = inserted;
  by_name_[inserted->name] = std::move(tenant);
  return inserted;
}

}  // namespace mayfly
