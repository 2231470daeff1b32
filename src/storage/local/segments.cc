// Large payloads: their segments, and uploads, which are payloads on their way.
#include "absl/functional/function_ref.h"

#include "storage/local/local_storage.h"
#include "storage/local/row_format.h"

namespace mayfly {

absl::Status LocalStorage::WriteSegment(const CallKey& key, SlotRef slot, uint32_t number,
                                        const Sealed& segment) {
  RETURN_IF_ERROR(health_.Check());
  rocksdb::WriteBatch batch(segment.size() + 256);
  rocksdb::ColumnFamilyHandle* const family = database_->family(Family::kSegments);
  if (number == 0) {
    batch.Put(family, AsSlice(EncodeSegmentKey(key, slot, kSegmentMark)), rocksdb::Slice());
  }
  batch.Put(family, AsSlice(EncodeSegmentKey(key, slot, number + 1)),
            AsSlice(AsText(segment.bytes())));
  return Write(&batch, "writing a segment");
}

absl::StatusOr<Sealed> LocalStorage::ReadSegment(const CallKey& key, SlotRef slot,
                                                 uint32_t number) {
  RETURN_IF_ERROR(health_.Check());
  rocksdb::PinnableSlice ciphertext;
  const rocksdb::Status status =
      (*database_)
          ->Get(rocksdb::ReadOptions(), database_->family(Family::kSegments),
                AsSlice(EncodeSegmentKey(key, slot, number + 1)), &ciphertext);
  if (status.IsNotFound()) return absl::NotFoundError("the segment is gone");
  if (!status.ok()) return FailedRead("reading a segment", status, &key);
  return Sealed::CopyOf(AsBytes(AsText(ciphertext)));
}

absl::Status LocalStorage::RemoveSegments(const SegmentsRef& segments) {
  RETURN_IF_ERROR(health_.Check());
  rocksdb::WriteBatch batch;
  RemoveSegmentsIn(segments, &batch);
  return Write(&batch, "removing segments");
}

void LocalStorage::RemoveSegmentsIn(const SegmentsRef& segments, rocksdb::WriteBatch* batch) const {
  room_->NoteRemovedSegments(segments.count * kSegmentBytes);
  rocksdb::ColumnFamilyHandle* const family = database_->family(Family::kSegments);
  // One more than there are segments, for the mark.
  for (uint32_t number = kSegmentMark; number <= segments.count; ++number) {
    batch->Delete(family, AsSlice(EncodeSegmentKey(segments.key, segments.slot, number)));
  }
}

uint32_t LocalStorage::CountSegments(const CallKey& key, SlotRef slot) {
  uint32_t present = 0;  // so many are there
  uint32_t absent = 1;   // and not so many, once found
  bool found = false;
  while (!found || present + 1 < absent) {
    const uint32_t number = found ? present + (absent - present) / 2 : absent;
    // One that cannot be read is there.
    if (!absl::IsNotFound(ReadSegment(key, slot, number - 1).status())) {
      present = number;
      if (!found) absent = 2 * number;
    } else {
      absent = number;
      found = true;
    }
  }
  return present;
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
  const uint32_t segment_count = CountSegments(upload.key, upload.payload.slot);
  rocksdb::WriteBatch batch;
  batch.Delete(database_->family(Family::kUploads), EncodeUploadKey(upload.key.tenant, upload.id));
  // A loss of power may keep the removal and take the erasure.
  NameErasureIn(upload.key, upload.payload.slot, &batch);
  RemoveSegmentsIn({.key = upload.key, .slot = upload.payload.slot, .count = segment_count},
                   &batch);
  return Write(&batch, "removing an upload");
}

absl::StatusOr<std::vector<StoredUpload>> LocalStorage::LoadUploads() {
  RETURN_IF_ERROR(health_.Check());
  std::vector<StoredUpload> live;
  rocksdb::WriteBatch dead;
  absl::Status removed;
  RETURN_IF_ERROR(ForEachUpload([&](StoredUpload upload) {
    const SlotState state = slots_->StateOf(upload.payload.slot);
    if (state == SlotState::kLive) live.push_back(std::move(upload));
    if (state == SlotState::kLive || state == SlotState::kDamaged) return;
    dead.Delete(database_->family(Family::kUploads), EncodeUploadKey(upload.key.tenant, upload.id));
    const SegmentsRef segments = {.key = upload.key, .slot = upload.payload.slot, .count = 0};
    removed.Update(RemoveDeadSegments(segments, &dead));
  }));
  RETURN_IF_ERROR(removed);
  if (dead.Count() > 0) RETURN_IF_ERROR(Write(&dead, "removing uploads"));
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
