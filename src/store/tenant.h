// A tenant as the store sees it: its number, its retention and limits, and what it holds now.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/mutex.h"
#include "base/tenant.h"
#include "call/apply.h"
#include "config/config.h"
#include "storage/storage.h"

namespace mayfly {

// The counters are shared by all shards; the rest never changes. Lives as long as the store.
struct Tenant {
  std::string name;
  TenantNumber number{};
  Config::TenantRetention retention;
  Config::TenantLimits limits;
  int64_t dead_before_ms = 0;

  std::atomic<int64_t> live_calls{0};
  std::atomic<int64_t> live_bytes{0};
  std::atomic<int64_t> claims{0};
  // Under way, and what they have reserved.
  std::atomic<int64_t> uploads{0};
  std::atomic<int64_t> upload_bytes{0};
};

// RESOURCE_EXHAUSTED (QUOTA_BYTES) when the tenant may not have so many bytes more.
absl::Status CheckBytesQuota(const Tenant& tenant, int64_t more_bytes);

// The rules' view of a tenant's retention at a moment; what is about claims and new calls is left
// for the shard to fill in.
ApplyContext RetentionContext(const Tenant& tenant, const Now& now);

// All tenants that ever used this store. A name gets its number, durably, at its first use.
// Thread-safe.
class Tenants {
 public:
  Tenants(Storage* storage, const Config& config) : storage_(storage), config_(config) {}

  // Loads what storage knows. A tenant whose max_ttl was raised since gets its dead_before raised
  // by what the old one has ended until now; before the clock is trusted the old one stays.
  absl::Status Start(const Now& now) EXCLUDES_LOCK(mutex_);

  // Finds the tenant or makes it. The caller vouches for the name's grammar.
  absl::StatusOr<Tenant*> Resolve(absl::string_view name) EXCLUDES_LOCK(mutex_);

  // Null when there is none.
  Tenant* ByNumber(TenantNumber number) EXCLUDES_LOCK(mutex_);
  std::vector<Tenant*> All() EXCLUDES_LOCK(mutex_);

 private:
  Tenant* Insert(absl::string_view name, const TenantRecord& record) REQUIRES_LOCK(mutex_);

  Storage* const storage_;
  const Config& config_;
  Mutex mutex_;
  std::map<std::string, std::unique_ptr<Tenant>, std::less<>> by_name_ GUARDED_BY(mutex_);
  std::map<TenantNumber, Tenant*> by_number_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
