// The TenantTable gives each tenant's name a number, for ever.
//
// A number is synced before its first use: a crash that forgot it would give it to somebody else,
// and with it the first one's calls. The table is held in memory whole; tenants are few.
// Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/mutex.h"
#include "storage/local/database.h"
#include "storage/local/storage_health.h"
#include "storage/registry.h"

namespace mayfly {

class TenantTable {
 public:
  // Both outlive the table.
  TenantTable(Database* database, StorageHealth* health) : database_(database), health_(health) {}

  absl::Status Load() EXCLUDES_LOCK(mutex_);
  absl::StatusOr<TenantRecord> Resolve(absl::string_view name, int64_t max_ttl_ms)
      EXCLUDES_LOCK(mutex_);
  // NOT_FOUND for an unknown name. dead_before only rises, whatever `record` says.
  absl::Status Update(absl::string_view name, const TenantRecord& record) EXCLUDES_LOCK(mutex_);
  std::vector<std::pair<std::string, TenantRecord>> All() EXCLUDES_LOCK(mutex_);

 private:
  absl::Status Write(absl::string_view name, const TenantRecord& record) REQUIRES_LOCK(mutex_);

  Database* const database_;
  StorageHealth* const health_;
  Mutex mutex_;
  std::map<std::string, TenantRecord, std::less<>> records_ GUARDED_BY(mutex_);
  uint32_t next_number_ GUARDED_BY(mutex_) = 1;
};

}  // namespace mayfly
