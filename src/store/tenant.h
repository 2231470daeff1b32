// A tenant as the store sees it: its number, its retention, and the ledger of its quotas.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "base/published.h"
#include "base/tenant.h"
#include "call/apply.h"
#include "config/config.h"
#include "storage/registry.h"
#include "store/tenant_ledger.h"

namespace mayfly {

// The retention in force for a tenant. Immutable: a change makes another policy.
struct TenantPolicy {
  Config::TenantRetention retention;
  int64_t dead_before_ms = 0;  // payloads stored at or before this are dead

  // As the rules take them.
  int64_t max_ttl_ms() const { return absl::ToInt64Milliseconds(retention.max_ttl); }
  int64_t tombstone_ttl_ms() const { return absl::ToInt64Milliseconds(retention.tombstone_ttl); }

  friend bool operator==(const TenantPolicy&, const TenantPolicy&) = default;
};

// Shared by all shards. Lives as long as the store. Thread-safe.
class Tenant {
 public:
  Tenant() = default;
  Tenant(absl::string_view tenant_name, TenantNumber tenant_number, const TenantPolicy& policy,
         const QuotaLimits& limits)
      : name(tenant_name), number(tenant_number), ledger(limits), policy_(policy) {}

  const std::string name;
  const TenantNumber number{};
  TenantLedger ledger;

  // The one in force. It stays valid as long as the tenant, since requests in flight refer to it.
  const TenantPolicy& policy() const { return policy_.Get(); }
  void SetPolicy(const TenantPolicy& policy) { policy_.Set(policy); }

 private:
  Published<TenantPolicy> policy_{TenantPolicy{}};
};

// The rules' view of a tenant's retention at a moment; what is about claims and new calls is left
// for the shard to fill in.
ApplyContext RetentionContext(const Tenant& tenant, const Now& now);

// All tenants that ever used this store. A name gets its number, durably, at its first use.
// Thread-safe.
class Tenants {
 public:
  Tenants(Registry* registry, const Config& config) : registry_(registry), config_(config) {}

  // Loads what storage knows. A tenant whose max_ttl was raised since gets its dead_before raised by
  // what the old one has ended until now. As long as the clock is not trusted nobody knows what that
  // is: the old max_ttl stays in force until ApplyPostponed is called with a time that is.
  absl::Status Start(const Now& now) EXCLUDES_LOCK(mutex_);
  // Applies what Start has put off, if anything and if `now` is trusted. Returns the tenants' names.
  absl::StatusOr<std::vector<std::string>> ApplyPostponed(const Now& now) EXCLUDES_LOCK(mutex_);
  // The names of tenants with a raised max_ttl that is put off.
  std::vector<std::string> Postponed() EXCLUDES_LOCK(mutex_);

  // Finds the tenant or makes it. The caller vouches for the name's grammar.
  absl::StatusOr<Tenant*> Resolve(absl::string_view name) EXCLUDES_LOCK(mutex_);

  // Null when there is none.
  Tenant* ByNumber(TenantNumber number) EXCLUDES_LOCK(mutex_);
  std::vector<Tenant*> All() EXCLUDES_LOCK(mutex_);

 private:
  TenantPolicy PolicyFor(absl::string_view name, const TenantRecord& record) const;
  QuotaLimits LimitsFor(absl::string_view name) const;
  Tenant* Insert(absl::string_view name, const TenantRecord& record) REQUIRES_LOCK(mutex_);
  // Raises max_ttl, and dead_before by what the old one has ended.
  absl::Status Raise(absl::string_view name, const Now& now, TenantRecord* record);

  Registry* const registry_;
  const Config& config_;
  Mutex create_mutex_;  // one new tenant at a time: it is synced
  Mutex mutex_;
  std::map<std::string, std::unique_ptr<Tenant>, std::less<>> by_name_ GUARDED_BY(mutex_);
  std::map<TenantNumber, Tenant*> by_number_ GUARDED_BY(mutex_);
  std::map<std::string, TenantRecord> postponed_ GUARDED_BY(mutex_);  // as they are recorded
};

}  // namespace mayfly
