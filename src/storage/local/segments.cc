// Large payloads: their segments, and uploads, which are payloads on their way.
//
// A segment is appended to a segment file first, and then named by a row of its own. A write of so few
// bytes costs next to nothing, and so every segment that was accepted is there after a kill.
#include "absl/functional/function_ref.h"

#include "base/error.h"
#include "storage/local/batched_get.h"
#include "storage/local/local_storage.h"
#include "storage/local/row_format.h"

namespace mayfly {
namespace {

constexpr absl::Duration kAppendRetryDelay = absl::Seconds(1);

// As FailedRead takes it.
rocksdb::Status RocksdbStatus(const absl::Status& status) {
  const std::string text(status.message());
  if (absl::IsNotFound(status)) return rocksdb::Status::PathNotFound(text);
  if (absl::IsUnavailable(status)) return rocksdb::Status::IOError(text);
  return rocksdb::Status::Corruption(text);
}

}  // namespace

absl::Status LocalStorage::WriteSegment(const CallKey& key, SlotRef slot, uint32_t number,
                                        int64_t deadline_ms, const Sealed& segment) {
  RETURN_IF_ERROR(health_.Check());
  const auto extent = segment_files_->Append(
      static_cast<uint32_t>(HourOfSecond(DueSecond(deadline_ms))), segment.bytes());
  if (!extent.ok()) return FailedAppend(extent.status(), segment.size());
  rocksdb::WriteBatch batch;
  batch.Put(database_->family(Family::kSegments), AsSlice(EncodeSegmentKey(key, slot, number)),
            AsSlice(EncodeSegmentExtent(*extent)));
  return Write(&batch, "writing a segment's row");
}

absl::Status LocalStorage::FailedAppend(const absl::Status& status, uint64_t bytes) const {
  if (IsOutOfSpace(status)) return room_->Refusal(RoomBudget::CostOfSegment(bytes));
  if (!WroteNothing(status)) return status;
  return WithRetryDelay(MakeError(absl::StatusCode::kUnavailable, Reason::kStorageDown,
                                  "no file descriptor is free for what is put: it was not stored"),
                        kAppendRetryDelay);
}

absl::StatusOr<SegmentExtent> LocalStorage::FindSegment(const CallKey& key, SlotRef slot,
                                                        uint32_t number) const {
  rocksdb::PinnableSlice value;
  const rocksdb::Status status =
      (*database_)
          ->Get(rocksdb::ReadOptions(), database_->family(Family::kSegments),
                AsSlice(EncodeSegmentKey(key, slot, number)), &value);
  if (status.IsNotFound() || (status.ok() && value.empty())) {
    return absl::NotFoundError("the segment is gone");
  }
  if (!status.ok()) return FailedRead("reading a segment's row", status, &key);
  const std::optional<SegmentExtent> extent = DecodeSegmentExtent(AsText(value));
  if (!extent) return BadRow("reading a segment's row", &key);
  return *extent;
}

absl::StatusOr<Sealed> LocalStorage::ReadSegment(const CallKey& key, SlotRef slot,
                                                 uint32_t number) {
  RETURN_IF_ERROR(health_.Check());
  const auto extent = FindSegment(key, slot, number);
  RETURN_IF_ERROR(extent.status());
  auto segment = segment_files_->Read(*extent);
  if (segment.ok()) return segment;
  // Its room may have been given back in between: its row is gone then.
  const auto still_there = FindSegment(key, slot, number);
  if (absl::IsNotFound(still_there.status())) return still_there.status();
  return FailedRead("reading a segment", RocksdbStatus(segment.status()), &key);
}

absl::Status LocalStorage::RemoveSegments(const SegmentsRef& segments) {
  RETURN_IF_ERROR(health_.Check());
  RowChanges changes;
  RemoveSegmentsIn(segments, &changes);
  return Write(&changes, "removing segments");
}

// A row that cannot be read is removed all the same. Its segment's room comes back with the file.
void LocalStorage::RemoveSegmentsIn(const SegmentsRef& segments, RowChanges* changes) const {
  rocksdb::ColumnFamilyHandle* const family = database_->family(Family::kSegments);
  BatchedGet<SegmentRowKey> rows(segments.count);
  for (uint32_t number = 0; number < segments.count; ++number) {
    const SegmentRowKey key = EncodeSegmentKey(segments.key, segments.slot, number);
    rows.Add(key);
    changes->batch.Delete(family, AsSlice(key));
  }
  rows.Run(*database_, Family::kSegments);
  for (uint32_t number = 0; number < segments.count; ++number) {
    if (!rows.status(number).ok()) continue;
    if (const auto extent = DecodeSegmentExtent(rows.value(number))) {
      changes->released.push_back(*extent);
    }
  }
}

absl::Status LocalStorage::RemoveSegmentsFrom(const SegmentsRef& segments, uint32_t first_number,
                                              RowChanges* changes) {
  const SegmentRowKey first = EncodeSegmentKey(segments.key, segments.slot, first_number);
  const SegmentRowKey last = EncodeSegmentKey(segments.key, segments.slot, UINT32_MAX);
  RowWalk rows(*database_, Family::kSegments, AsText(first), AsText(last));
  for (; rows.Valid(); rows.Next()) {
    changes->batch.Delete(database_->family(Family::kSegments), AsSlice(rows.key()));
    if (const auto extent = DecodeSegmentExtent(rows.value())) {
      changes->released.push_back(*extent);
    }
  }
  return EndWalk("reading segments", rows);
}

// The row before the slot, as for payloads: every live slot has its row.
absl::Status LocalStorage::StoreUpload(const StoredUpload& upload, const SecretBytes& secret) {
  RETURN_IF_ERROR(health_.Check());
  rocksdb::WriteBatch batch;
  batch.Put(database_->family(Family::kUploads), EncodeUploadKey(upload.key.tenant, upload.id),
            EncodeUpload(upload));
  RETURN_IF_ERROR(Write(&batch, "writing an upload"));
  const SlotWrite slot = {.ref = upload.payload.slot, .secret = &secret};
  return WriteSlots({&slot, 1});
}

absl::Status LocalStorage::RemoveUpload(const StoredUpload& upload) {
  RETURN_IF_ERROR(Erase({&upload.payload.slot, 1}));
  RowChanges changes;
  changes.batch.Delete(database_->family(Family::kUploads),
                       EncodeUploadKey(upload.key.tenant, upload.id));
  // A loss of power may keep the removal and take the erasure.
  NameErasureIn(upload.key, upload.payload.slot, &changes.batch);
  RETURN_IF_ERROR(
      RemoveSegmentsFrom({.key = upload.key, .slot = upload.payload.slot}, 0, &changes));
  return Write(&changes, "removing an upload");
}

absl::StatusOr<std::vector<StoredUpload>> LocalStorage::LoadUploads() {
  RETURN_IF_ERROR(health_.Check());
  std::vector<StoredUpload> live;
  RowChanges dead;
  absl::Status removed;
  RETURN_IF_ERROR(ForEachUpload([&](StoredUpload upload) {
    const SlotState state = StateOf(upload.payload.slot);
    if (state == SlotState::kLive) live.push_back(std::move(upload));
    if (state == SlotState::kLive || state == SlotState::kDamaged) return;
    dead.batch.Delete(database_->family(Family::kUploads),
                      EncodeUploadKey(upload.key.tenant, upload.id));
    removed.Update(RemoveSegmentsFrom({.key = upload.key, .slot = upload.payload.slot}, 0, &dead));
  }));
  RETURN_IF_ERROR(removed);
  if (dead.batch.Count() > 0) RETURN_IF_ERROR(Write(&dead, "removing uploads"));
  return live;
}

absl::Status LocalStorage::ForEachUpload(absl::FunctionRef<void(StoredUpload)> visit) {
  RowWalk rows(*database_, Family::kUploads);
  for (; rows.Valid(); rows.Next()) {
    std::optional<StoredUpload> upload = DecodeUpload(rows.key(), rows.value());
    if (!upload) return absl::DataLossError("an upload is not in the format of this program");
    visit(*std::move(upload));
  }
  return EndWalk("reading uploads", rows);
}

}  // namespace mayfly
