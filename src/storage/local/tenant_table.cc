#include "storage/local/tenant_table.h"

#include <algorithm>
#include <memory>

#include "storage/local/row_format.h"

namespace mayfly {

absl::Status TenantTable::Load() {
  MutexLock lock(&mutex_);
  const auto rows = std::unique_ptr<rocksdb::Iterator>(
      (*database_)->NewIterator(rocksdb::ReadOptions(), database_->family(Family::kTenants)));
  for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
    auto tenant = DecodeTenant(AsText(rows->key()), AsText(rows->value()));
    if (!tenant) return absl::DataLossError("a tenant's row is not in the format of this program");
    next_number_ = std::max(next_number_, static_cast<uint32_t>(tenant->second.number) + 1);
    records_.insert(*std::move(tenant));
  }
  if (!rows->status().ok()) {
    // Never without them: a number that is forgotten would be given to another tenant.
    (void)health_->Fail("reading tenants", rows->status().ToString());
    return absl::DataLossError(
        "data loss: the tenants' rows in the database db cannot be read: restore the data "
        "directory, or move it away to start empty");
  }
  return absl::OkStatus();
}

absl::StatusOr<TenantRecord> TenantTable::Resolve(absl::string_view name, int64_t max_ttl_ms) {
  RETURN_IF_ERROR(health_->Check());
  MutexLock lock(&mutex_);
  const auto known = records_.find(name);
  if (known != records_.end()) return known->second;
  const TenantRecord record = {.number = TenantNumber{next_number_}, .max_ttl_ms = max_ttl_ms};
  RETURN_IF_ERROR(Write(name, record));
  ++next_number_;
  return record;
}

absl::Status TenantTable::Update(absl::string_view name, const TenantRecord& record) {
  RETURN_IF_ERROR(health_->Check());
  MutexLock lock(&mutex_);
  const auto known = records_.find(name);
  if (known == records_.end()) return absl::NotFoundError("no such tenant");
  TenantRecord updated = known->second;
  updated.dead_before_ms = std::max(updated.dead_before_ms, record.dead_before_ms);
  updated.max_ttl_ms = record.max_ttl_ms;
  return Write(name, updated);
}

std::vector<std::pair<std::string, TenantRecord>> TenantTable::All() {
  MutexLock lock(&mutex_);
  return {records_.begin(), records_.end()};
}

absl::Status TenantTable::Write(absl::string_view name, const TenantRecord& record) {
  rocksdb::WriteOptions synced;
  synced.sync = true;
  const rocksdb::Status written =
      (*database_)
          ->Put(synced, database_->family(Family::kTenants), EncodeTenantKey(record.number),
                EncodeTenant(name, record));
  if (!written.ok()) return health_->Fail("writing a tenant", written.ToString());
  records_.insert_or_assign(std::string(name), record);
  return absl::OkStatus();
}

}  // namespace mayfly
