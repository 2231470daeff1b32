// What storage keeps beside calls: tenants, what they use, and the clock's record.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/tenant.h"

namespace mayfly {

struct TenantUsage {
  TenantNumber tenant{};
  int64_t live_calls = 0;
  int64_t live_bytes = 0;  // plaintext bytes of payloads
};

struct TenantRecord {
  TenantNumber number{};
  int64_t dead_before_ms = 0;  // payloads stored at or before this are dead; only rises
  int64_t max_ttl_ms = 0;      // in force when the record was written
};

// Up to which distance from now the times in new calls' ids are accepted, in milliseconds.
struct IdWindowRecord {
  int64_t window_ms = 0;    // in force
  int64_t narrower_ms = 0;  // in force before it was widened, as long as the floor matters
  int64_t floor_ms = 0;     // ids up to this time were outside then

  friend bool operator==(const IdWindowRecord&, const IdWindowRecord&) = default;
};

// Thread-safe.
class Registry {
 public:
  virtual ~Registry() = default;

  // The tenant's record, made and synced at its first use.
  virtual absl::StatusOr<TenantRecord> ResolveTenant(absl::string_view name,
                                                     int64_t max_ttl_ms) = 0;
  virtual absl::StatusOr<std::vector<std::pair<std::string, TenantRecord>>> Tenants() = 0;
  virtual absl::Status UpdateTenant(absl::string_view name, const TenantRecord& record) = 0;
  // Summed over all shards that ever were, and this shard's part of it.
  virtual absl::StatusOr<std::vector<TenantUsage>> LoadUsage() = 0;
  virtual absl::StatusOr<std::vector<TenantUsage>> LoadUsage(uint32_t shard) = 0;

  // The window around call ids (store/id_window.h): nullopt when none was saved. Saving syncs.
  virtual absl::StatusOr<std::optional<IdWindowRecord>> LoadIdWindow() = 0;
  virtual absl::Status SaveIdWindow(const IdWindowRecord& record) = 0;

  // The clock's record (retention/timekeeper.h), replaced as a whole.
  virtual absl::StatusOr<std::optional<std::string>> LoadTimeRecord() = 0;
  virtual absl::Status SaveTimeRecord(absl::string_view record) = 0;
};

}  // namespace mayfly
