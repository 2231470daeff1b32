// A ShardUsage counts what the calls of one shard take, by tenant, as storage records it: absolute
// figures, written with the group that changes them. Not thread-safe; the tenants' own totals, to
// which every shard adds, are.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

#include "storage/registry.h"
#include "store/tenant.h"

namespace mayfly {

// Rows of one call, or a change of them.
struct RowCount {
  int64_t calls = 0;
  int64_t bytes = 0;  // of payloads, in plaintext
};

class ShardUsage {
 public:
  // `recorded` is what storage has of this shard.
  explicit ShardUsage(const std::vector<TenantUsage>& recorded);

  // A call's rows went from `before` to `after`.
  void Add(Tenant* tenant, const RowCount& before, const RowCount& after);
  // The figures of the tenants whose usage has changed since the last call.
  std::vector<TenantUsage> TakeChanged();

 private:
  absl::flat_hash_map<TenantNumber, TenantUsage> usage_;
  absl::flat_hash_set<TenantNumber> changed_;
};

}  // namespace mayfly
