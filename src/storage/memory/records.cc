// Tenants, usage, and the records that are replaced as a whole.
#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "base/error.h"
#include "storage/memory/memory_storage.h"

namespace mayfly {

absl::StatusOr<TenantRecord> MemoryStorage::ResolveTenant(absl::string_view name,
                                                          int64_t max_ttl_ms) {
  TenantRecord record = {.number = TenantNumber{1}, .max_ttl_ms = max_ttl_ms};
  {
    MutexLock lock(&disk_.mutex_);
    RETURN_IF_ERROR(CheckHealth());
    const auto& tenants = disk_.rows_.tenants;
    const auto known = tenants.find(name);
    if (known != tenants.end()) return known->second;
    for (const auto& [other, other_record] : tenants) {
      record.number =
          std::max(record.number, TenantNumber{static_cast<uint32_t>(other_record.number) + 1});
    }
  }
  RowBatch batch;
  batch.Add([name = std::string(name), record](MemoryRows* rows) { rows->tenants[name] = record; });
  RETURN_IF_ERROR(WriteRows(std::move(batch)));
  RETURN_IF_ERROR(Sync());
  return record;
}

absl::StatusOr<std::vector<std::pair<std::string, TenantRecord>>> MemoryStorage::Tenants() {
  MutexLock lock(&disk_.mutex_);
  RETURN_IF_ERROR(CheckHealth());
  const auto& tenants = disk_.rows_.tenants;
  return std::vector<std::pair<std::string, TenantRecord>>(tenants.begin(), tenants.end());
}

absl::Status MemoryStorage::UpdateTenant(absl::string_view name, const TenantRecord& record) {
  TenantRecord updated;
  {
    MutexLock lock(&disk_.mutex_);
    RETURN_IF_ERROR(CheckHealth());
    const auto known = disk_.rows_.tenants.find(name);
    if (known == disk_.rows_.tenants.end()) return absl::NotFoundError("no such tenant");
    updated = known->second;
  }
  updated.dead_before_ms = std::max(updated.dead_before_ms, record.dead_before_ms);
  updated.max_ttl_ms = record.max_ttl_ms;
  RowBatch batch;
  batch.Add(
      [name = std::string(name), updated](MemoryRows* rows) { rows->tenants[name] = updated; });
  RETURN_IF_ERROR(WriteRows(std::move(batch)));
  return Sync();
}

absl::StatusOr<std::vector<TenantUsage>> MemoryStorage::SumUsage(std::optional<uint32_t> shard) {
  MutexLock lock(&disk_.mutex_);
  RETURN_IF_ERROR(CheckHealth());
  std::map<TenantNumber, TenantUsage> sums;
  for (const auto& [key, used] : disk_.rows_.usage) {
    if (shard && key.first != *shard) continue;
    TenantUsage& sum = sums[used.tenant];
    sum.tenant = used.tenant;
    sum.live_calls += used.live_calls;
    sum.live_bytes += used.live_bytes;
  }
  std::vector<TenantUsage> all;
  for (const auto& [tenant, sum] : sums) all.push_back(sum);
  return all;
}

absl::StatusOr<std::optional<IdWindowRecord>> MemoryStorage::LoadIdWindow() {
  MutexLock lock(&disk_.mutex_);
  RETURN_IF_ERROR(CheckHealth());
  return disk_.rows_.id_window;
}

absl::Status MemoryStorage::SaveIdWindow(const IdWindowRecord& record) {
  RowBatch batch;
  batch.Add([record](MemoryRows* rows) { rows->id_window = record; });
  RETURN_IF_ERROR(WriteRows(std::move(batch)));
  return Sync();
}

absl::StatusOr<std::optional<std::string>> MemoryStorage::LoadTimeRecord() {
  MutexLock lock(&disk_.mutex_);
  return disk_.time_record_;
}

absl::Status MemoryStorage::SaveTimeRecord(absl::string_view record) {
  const absl::Status asked = Ask(DiskOperation::kWriteTimeRecord);
  MutexLock lock(&disk_.mutex_);
  RETURN_IF_ERROR(Begin(DiskOperation::kWriteTimeRecord, asked).status);
  disk_.time_record_ = std::string(record);
  return absl::OkStatus();
}

}  // namespace mayfly
