#include "store/shard/usage.h"

#include <utility>

namespace mayfly {

ShardUsage::ShardUsage(const std::vector<TenantUsage>& recorded) {
  for (const TenantUsage& used : recorded) usage_[used.tenant] = used;
}

void ShardUsage::Add(Tenant* tenant, const RowCount& before, const RowCount& after) {
  const int64_t calls = after.calls - before.calls;
  const int64_t bytes = after.bytes - before.bytes;
  if (calls == 0 && bytes == 0) return;
  tenant->live_calls += calls;
  tenant->live_bytes += bytes;
  TenantUsage& used = usage_[tenant->number];
  used.tenant = tenant->number;
  used.live_calls += calls;
  used.live_bytes += bytes;
  changed_.insert(tenant->number);
}

std::vector<TenantUsage> ShardUsage::TakeChanged() {
  std::vector<TenantUsage> changed;
  for (const TenantNumber tenant : std::exchange(changed_, {}))
    changed.push_back(usage_.at(tenant));
  return changed;
}

}  // namespace mayfly
