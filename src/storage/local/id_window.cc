// The row that remembers which window around call ids was in force.
#include <string>

#include "base/bytes.h"
#include "storage/local/local_storage.h"
#include "storage/local/row_format.h"

namespace mayfly {
namespace {

constexpr char kIdWindowKey[] = "id_window";

}  // namespace

absl::StatusOr<std::optional<IdWindowRecord>> LocalStorage::LoadIdWindow() {
  RETURN_IF_ERROR(health_.Check());
  std::string value;
  const rocksdb::Status status =
      (*database_)
          ->Get(rocksdb::ReadOptions(), database_->family(Family::kDefault), kIdWindowKey, &value);
  if (status.IsNotFound()) return std::optional<IdWindowRecord>();
  if (!status.ok()) return FailedRead("reading the window around ids", status);
  std::optional<IdWindowRecord> record = DecodeIdWindow(value);
  if (!record) return absl::DataLossError("the id_window row is not in the format of this program");
  return record;
}

absl::Status LocalStorage::SaveIdWindow(const IdWindowRecord& record) {
  RETURN_IF_ERROR(health_.Check());
  rocksdb::WriteBatch batch;
  batch.Put(database_->family(Family::kDefault), kIdWindowKey, EncodeIdWindow(record));
  RETURN_IF_ERROR(Write(&batch, "writing the window around ids"));
  return Sync();
}

}  // namespace mayfly
