// The part of Uploads that takes what is uploaded: segments, and the finish.
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/check.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "crypto/chunked_aead.h"
#include "store/upload_error.h"
#include "store/uploads.h"

namespace mayfly {
namespace {

// Of a fault of ours or the machine's: the upload is worth keeping. So it is when its time or its
// call's is over, which may be one clock's word: the sweep ends it when both say so.
bool MayPassLater(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status) ||
         ReasonOf(status) == Reason::kCallExpired;
}

FinishUpload FinishOf(const Upload& upload) {
  const StoredUpload& stored = upload.stored;
  if (stored.kind == PayloadKind::kOutput) return {.put = PutOutput{.payload = stored.payload}};
  return {.put = PutInput{.id_time_ms = stored.key.id.time_ms(), .payload = stored.payload}};
}

}  // namespace

// ---- Append

absl::Status Uploads::CheckHolder(const Upload& upload, uint64_t stream) const {
  if (upload.gives_way) return UploadGaveWayError();
  if (upload.has_ended) return UnknownUploadError();
  if (upload.holder != stream) {
    return MakeError(absl::StatusCode::kAborted, Reason::kUploadTakenOver,
                     "another stream goes on with the upload");
  }
  if (router_.is_draining()) return DrainingError();
  return absl::OkStatus();
}

void Uploads::Append(std::shared_ptr<Upload> upload, uint64_t stream, UploadSegment segment,
                     absl::AnyInvocable<void(absl::Status)> done) {
  PendingAppend append{.upload = upload,
                       .stream = stream,
                       .segment = std::move(segment),
                       .done = std::move(done),
                       .since_ms = context_.time.Read().elapsed_ms};
  AddStep(upload, [this, append = std::move(append)]() mutable { TryAppend(std::move(append)); });
}

void Uploads::TryAppend(PendingAppend append) {
  Upload* const upload = append.upload.get();
  absl::Status status = CheckHolder(*upload, append.stream);
  if (status.ok()) {
    const auto appended = AppendSegment(upload, append.segment, append.since_ms);
    if (appended.ok() && !*appended) {
      MutexLock lock(&mutex_);
      waiting_.push_back(std::move(append));
      has_waiting_ = true;
      return;
    }
    status = appended.status();
  }
  if (upload->gives_way && !upload->has_ended) Abandon(upload);
  append.done(std::move(status));
  EndStep(append.upload);
}

void Uploads::RetryAppends() {
  if (!has_waiting_) return;
  std::vector<PendingAppend> waiting;
  {
    MutexLock lock(&mutex_);
    waiting.swap(waiting_);
    has_waiting_ = false;
  }
  for (PendingAppend& append : waiting) {
    router_.RunOnWorker(
        [this, append = std::move(append)]() mutable { TryAppend(std::move(append)); });
  }
}

absl::StatusOr<bool> Uploads::AppendSegment(Upload* upload, const UploadSegment& segment,
                                            int64_t since_ms) {
  const uint64_t next = upload->committed_bytes + upload->small.size();
  if (segment.offset_bytes != next || upload->has_last) {
    return UploadOffsetError("segment.offset_bytes", segment.offset_bytes, next);
  }
  const uint64_t size_bytes = next + segment.data.size();
  if (size_bytes > context_.config.limits.payload_bytes_max) {
    return UploadTooLargeError(size_bytes, context_.config.limits.payload_bytes_max);
  }
  if (upload->announced_bytes && size_bytes > *upload->announced_bytes) {
    return UploadTooLargeError(size_bytes, *upload->announced_bytes);
  }
  RETURN_IF_ERROR(upload->reservation.HoldBytes(static_cast<int64_t>(size_bytes)));
  const auto room = TakeRoom(upload, RoomBudget::CostOfSegment(segment.data.size()), since_ms);
  RETURN_IF_ERROR(room.status());
  if (room->empty()) return false;
  if (next == 0 && segment.data.size() <= kInlineBytesMax) {
    upload->small = segment.data;
  } else {
    RETURN_IF_ERROR(WriteSegment(upload, segment.data));
  }
  upload->crc32c = ExtendCrc32c(upload->crc32c, AsBytes(segment.data));
  upload->has_last = segment.data.size() < kSegmentBytes;
  upload->active_ms = context_.time.Read().elapsed_ms;
  return true;
}

absl::StatusOr<RoomLease> Uploads::TakeRoom(Upload* upload, uint64_t bytes, int64_t since_ms) {
  const int64_t now_ms = context_.time.Read().elapsed_ms;
  RoomLease room;
  bool waits = true;
  if (turns_.MayTake(upload->turn)) {
    room = context_.quota.ReserveRoom(bytes);
    if (!room.empty()) {
      turns_.OnRoom(upload->turn);
      return room;
    }
    const UploadTurns::Shortage shortage = turns_.OnNoRoom(upload->turn, now_ms);
    if (shortage.gives_way.has_value()) GiveWay(*shortage.gives_way);
    waits = shortage.waits;
  }
  if (upload->gives_way) return UploadGaveWayError();
  if (!waits || since_ms + UploadTurns::kForgetMs <= now_ms) {
    return context_.quota.RoomRefusal(bytes);
  }
  return room;
}

absl::Status Uploads::WriteSegment(Upload* upload, absl::string_view data) {
  const StoredUpload& stored = upload->stored;
  const auto secret = context_.storage.ReadSecret(stored.payload.slot);
  RETURN_IF_ERROR(secret.status());
  const auto sealed = context_.cipher.SealSegment(stored.key, stored.kind, stored.payload, *secret,
                                                  upload->segment_count, data);
  RETURN_IF_ERROR(sealed.status());
  RETURN_IF_ERROR(context_.storage.WriteSegment(
      stored.key, stored.payload.slot, upload->segment_count, stored.payload.deadline_ms, *sealed));
  upload->commitments.Update(CommitmentOf(sealed->bytes()));
  ++upload->segment_count;
  upload->committed_bytes += data.size();
  return absl::OkStatus();
}

// ---- Finish

void Uploads::Finish(std::shared_ptr<Upload> upload, uint64_t stream, const UploadEnd& end,
                     FinishUploadDone done) {
  ++upload->finishes;
  AddStep(upload, [this, upload, stream, end, done = std::move(done)]() mutable {
    absl::StatusOr<Sealed> row = SealRow(upload.get(), stream, end);
    if (row.ok()) return SubmitPut(upload, *std::move(row), std::move(done));
    --upload->finishes;
    done(row.status());
    EndStep(upload);
  });
}

absl::StatusOr<Sealed> Uploads::SealRow(Upload* upload, uint64_t stream, const UploadEnd& end) {
  RETURN_IF_ERROR(CheckHolder(*upload, stream));
  const uint64_t size_bytes = upload->committed_bytes + upload->small.size();
  if (end.size_bytes != size_bytes) {
    return UploadOffsetError("finish.size_bytes", end.size_bytes, size_bytes);
  }
  if (end.crc32c != upload->crc32c) {
    Abandon(upload);
    return MakeError(
        absl::StatusCode::kInvalidArgument, Reason::kChecksumMismatch,
        absl::StrCat("finish.crc32c is ", end.crc32c, ", that of the data that came is another"));
  }
  StoredUpload& stored = upload->stored;
  const auto secret = context_.storage.ReadSecret(stored.payload.slot);
  RETURN_IF_ERROR(secret.status());
  upload->metadata.crc32c = end.crc32c;
  stored.payload.size_bytes = size_bytes;
  stored.payload.segment_count = upload->segment_count;
  if (upload->segment_count > 0) {
    Sha256 commitments = upload->commitments;  // it may have to be finished again
    return context_.cipher.SealHeader(
        stored.key, stored.kind, *secret,
        {.metadata = upload->metadata, .commitments = commitments.Finish()}, &stored.payload);
  }
  const auto no_segments = [](uint32_t, const Sealed&) {
    Check(false, "a small payload has no segments");
    return absl::OkStatus();
  };
  return context_.cipher.SealPayload(stored.key, stored.kind, *secret,
                                     {.data = upload->small, .metadata = upload->metadata},
                                     no_segments, &stored.payload);
}

void Uploads::SubmitPut(std::shared_ptr<Upload> upload, Sealed row, FinishUploadDone done) {
  auto content = std::make_unique<PutContent>();
  content->metadata = upload->metadata;
  content->size_bytes = upload->stored.payload.size_bytes;
  content->row = std::move(row);
  content->upload = upload->stored.id;
  content->reservation = context_.quota.ReserveFinish(
      upload->tenant, upload->stored.kind, upload->small.size() + SizeOf(upload->metadata),
      /*has_segments=*/upload->segment_count > 0);
  content->upload_reservation = &upload->reservation;
  content->call_has_ended = &upload->call_has_ended;
  router_.SubmitOne(upload->tenant, upload->stored.key, FinishOf(*upload), std::move(content),
                    [this, upload, done = std::move(done)](OperationResult result) mutable {
                      router_.RunOnWorker([this, upload, result = std::move(result),
                                           done = std::move(done)]() mutable {
                        OnPutDecided(upload, std::move(result), std::move(done));
                      });
                    });
}

void Uploads::OnPutDecided(std::shared_ptr<Upload> upload, OperationResult result,
                           FinishUploadDone done) {
  --upload->finishes;
  const bool is_stored = result.payload && result.payload->slot == upload->stored.payload.slot;
  if (is_stored) {
    End(upload.get());
  } else if (!MayPassLater(result.status)) {
    Abandon(upload.get());
  }
  if (result.status.ok()) {
    done(result.payload ? result.payload->deadline_ms : 0);
  } else {
    done(std::move(result.status));
  }
  EndStep(upload);
}

}  // namespace mayfly
