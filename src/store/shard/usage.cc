#include "store/shard/usage.h"

#include <utility>

namespace mayfly {

ShardUsage::ShardUsage(const std::vector<TenantUsage>& recorded) {
  for (const TenantUsage& used : recorded) usage_[used.tenant] = used;
}

void ShardUsage::Add(TenantNumber tenant, const RowCount& change) {
  if (change.empty()) return;
  TenantUsage& used = usage_[tenant];
  used.tenant = tenant;
  used.live_calls += change.calls;
  used.live_bytes += change.bytes;
  changed_.insert(tenant);
}

std::vector<TenantUsage> ShardUsage::TakeChanged() {
  std::vector<TenantUsage> changed;
  for (const TenantNumber tenant : std::exchange(changed_, {}))
    changed.push_back(usage_.at(tenant));
  return changed;
}

}  // namespace mayfly
