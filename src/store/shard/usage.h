// A ShardUsage counts what the calls of one shard take, by tenant, as storage records it: absolute
// figures, written with the group that changes them. Not thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

#include "storage/registry.h"
#include "store/tenant_ledger.h"

namespace mayfly {

class ShardUsage {
 public:
  // `recorded` is what storage has of this shard.
  explicit ShardUsage(const std::vector<TenantUsage>& recorded);

  // The tenant's rows have changed by so much.
  void Add(TenantNumber tenant, const RowCount& change);
  // The figures of the tenants whose usage has changed since the last call.
  std::vector<TenantUsage> TakeChanged();

 private:
  absl::flat_hash_map<TenantNumber, TenantUsage> usage_;
  absl::flat_hash_set<TenantNumber> changed_;
};

}  // namespace mayfly
