#include "store/tenant.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"

namespace mayfly {
namespace {

// How long who was refused for lack of room is to wait.
constexpr absl::Duration kRetryDelay = absl::Seconds(1);

}  // namespace

ApplyContext RetentionContext(const Tenant& tenant, const Now& now) {
  return ApplyContext{
      .now = now,
      .max_ttl_ms = absl::ToInt64Milliseconds(tenant.retention.max_ttl),
      .dead_before_ms = tenant.dead_before_ms,
      .tombstone_ttl_ms = absl::ToInt64Milliseconds(tenant.retention.tombstone_ttl),
  };
}

absl::Status CheckBytesQuota(const Tenant& tenant, int64_t more_bytes) {
  const uint64_t limit = tenant.limits.live_bytes_max;
  const int64_t bytes = tenant.live_bytes + tenant.upload_bytes + more_bytes;
  if (limit == 0 || bytes <= static_cast<int64_t>(limit)) return absl::OkStatus();
  return WithRetryDelay(
      MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaBytes,
                absl::StrCat("live_bytes would be ", bytes, ", limit is ", limit)),
      kRetryDelay);
}

absl::Status Tenants::Start(const Now& now) {
  auto records = storage_->Tenants();
  RETURN_IF_ERROR(records.status());
  MutexLock lock(&mutex_);
  for (auto& [name, record] : *records) {
    const int64_t old_max_ttl_ms = record.max_ttl_ms;
    const int64_t max_ttl_ms = absl::ToInt64Milliseconds(config_.RetentionFor(name).max_ttl);
    const bool is_raised = max_ttl_ms > old_max_ttl_ms;
    // What the old limit has ended stays ended under a longer one. As long as the clock is not to
    // be trusted nobody knows what that is, and the old limit stays in force.
    const bool is_postponed = is_raised && now.erase_ms == Now::kNeverMs;
    if (is_raised && !is_postponed) {
      record.dead_before_ms = std::max(record.dead_before_ms, now.erase_ms - old_max_ttl_ms);
    }
    if (max_ttl_ms != old_max_ttl_ms && !is_postponed) {
      record.max_ttl_ms = max_ttl_ms;
      RETURN_IF_ERROR(storage_->UpdateTenant(name, record));
    }
    Tenant* const tenant = Insert(name, record);
    if (!is_postponed) continue;
    tenant->retention.max_ttl = absl::Milliseconds(old_max_ttl_ms);
    tenant->retention.default_ttl =
        std::min(tenant->retention.default_ttl, tenant->retention.max_ttl);
  }
  auto usage = storage_->LoadUsage();
  RETURN_IF_ERROR(usage.status());
  for (const TenantUsage& used : *usage) {
    const auto found = by_number_.find(used.tenant);
    if (found == by_number_.end()) continue;
    found->second->live_calls = used.live_calls;
    found->second->live_bytes = used.live_bytes;
  }
  return absl::OkStatus();
}

absl::StatusOr<Tenant*> Tenants::Resolve(absl::string_view name) {
  MutexLock lock(&mutex_);
  const std::string key(name);
  const auto found = by_name_.find(key);
  if (found != by_name_.end()) return found->second.get();
  const int64_t max_ttl_ms = absl::ToInt64Milliseconds(config_.RetentionFor(name).max_ttl);
  const auto record = storage_->ResolveTenant(name, max_ttl_ms);
  RETURN_IF_ERROR(record.status());
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

Tenant* Tenants::Insert(absl::string_view name, const TenantRecord& record) {
  auto tenant = std::make_unique<Tenant>();
  tenant->name = std::string(name);
  tenant->number = record.number;
  tenant->retention = config_.RetentionFor(name);
  tenant->limits = config_.LimitsFor(name);
  tenant->dead_before_ms = record.dead_before_ms;
  Tenant* const inserted = tenant.get();
  by_number_[record.number] = inserted;
  by_name_[tenant->name] = std::move(tenant);
  return inserted;
}

}  // namespace mayfly
