#include "store/uploads.h"

#include <algorithm>

#include "base/crc32c.h"
#include "base/error.h"
#include "crypto/chunked_aead.h"
#include "store/upload_error.h"

namespace mayfly {

void UploadStream::Append(UploadSegment segment, absl::AnyInvocable<void(absl::Status)> done) {
  uploads_->Append(upload_, number_, std::move(segment), std::move(done));
}

void UploadStream::Finish(const UploadEnd& end, FinishUploadDone done) {
  uploads_->Finish(upload_, number_, end, std::move(done));
}

int64_t Uploads::idle_timeout_ms() const {
  return absl::ToInt64Milliseconds(context_.config.limits.upload_idle_timeout);
}

// ---- Steps

void Uploads::AddStep(const std::shared_ptr<Upload>& upload, Upload::Step step) {
  {
    MutexLock lock(&upload->mutex);
    upload->steps.push_back(std::move(step));
    if (std::exchange(upload->is_stepping, true)) return;
  }
  router_.RunOnWorker([this, upload] { RunStep(upload); });
}

void Uploads::RunStep(std::shared_ptr<Upload> upload) {
  Upload::Step step;
  {
    MutexLock lock(&upload->mutex);
    step = std::move(upload->steps.front());
    upload->steps.pop_front();
  }
  step();
}

void Uploads::EndStep(const std::shared_ptr<Upload>& upload) {
  {
    MutexLock lock(&upload->mutex);
    if (upload->steps.empty()) {
      upload->is_stepping = false;
      return;
    }
  }
  router_.RunOnWorker([this, upload] { RunStep(upload); });
}

// ---- Begin

void Uploads::Begin(Tenant* tenant, NewUpload request, BeginUploadDone done) {
  std::shared_ptr<Upload> upload;
  {
    MutexLock lock(&mutex_);
    std::shared_ptr<Upload>& place = by_id_[Key{tenant->number, request.id}];
    if (place == nullptr) {
      place = std::make_shared<Upload>(tenant, request.id);
      ++count_;
    }
    upload = place;
  }
  AddStep(upload, [this, upload, request = std::move(request), done = std::move(done)]() mutable {
    if (upload->has_ended) {
      EndStep(upload);
      return Begin(upload->tenant, std::move(request), std::move(done));
    }
    if (!upload->has_begun) return StartNew(upload, std::move(request), std::move(done));
    const absl::Status status = Resume(upload.get(), request);
    if (status.ok()) {
      done(BegunUpload{.stream = TakeOver(upload)});
    } else {
      done(status);
    }
    EndStep(upload);
  });
}

std::shared_ptr<UploadStream> Uploads::TakeOver(std::shared_ptr<Upload> upload) {
  const uint64_t number = ++upload->holder;
  auto stream = std::make_shared<UploadStream>(this, upload, number);
  upload->stream = stream;
  upload->attached_ms = context_.time.Read().elapsed_ms;
  return stream;
}

void Uploads::StartNew(std::shared_ptr<Upload> upload, NewUpload request, BeginUploadDone done) {
  const absl::Status status = PrepareNew(upload.get(), request);
  if (!status.ok()) {
    End(upload.get());
    done(status);
    return EndStep(upload);
  }
  {
    // Before the rules are asked, so that any end they do not see ends the upload.
    MutexLock lock(&mutex_);
    by_call_[upload->stored.key].push_back(upload);
  }
  auto content = std::make_unique<PutContent>();
  content->metadata = upload->metadata;
  content->size_bytes = request.size_bytes.value_or(0);
  BeginUpload begin{.content_is_known = request.crc32c_is_known && request.size_bytes.has_value()};
  if (request.kind == PayloadKind::kInput) {
    begin.put =
        PutInput{.id_time_ms = request.call_id.time_ms(), .payload = upload->stored.payload};
  } else {
    begin.put = PutOutput{.payload = upload->stored.payload};
  }
  router_.SubmitOne(upload->tenant, upload->stored.key, std::move(begin), std::move(content),
                    [this, upload, done = std::move(done)](OperationResult result) mutable {
                      router_.RunOnWorker([this, upload, result = std::move(result),
                                           done = std::move(done)]() mutable {
                        OnBeginDecided(upload, std::move(result), std::move(done));
                      });
                    });
}

void Uploads::OnBeginDecided(std::shared_ptr<Upload> upload, OperationResult result,
                             BeginUploadDone done) {
  const bool is_wanted = result.status.ok() && result.pending;
  absl::Status status = is_wanted ? CheckRoom(*upload) : std::move(result.status);
  if (is_wanted && status.ok()) status = KeepNew(upload.get());
  if (!upload->has_begun && !upload->has_ended) {
    context_.storage.ReturnSlots({&upload->stored.payload.slot, 1});
    End(upload.get());
  }
  if (!status.ok()) {
    done(std::move(status));
  } else if (is_wanted) {
    done(BegunUpload{.stream = TakeOver(upload)});
  } else {
    done(BegunUpload{.deadline_ms = result.payload ? result.payload->deadline_ms : 0});
  }
  EndStep(upload);
}

// Everything but what the rules have to say.
absl::Status Uploads::PrepareNew(Upload* upload, const NewUpload& request) {
  if (router_.is_draining()) return DrainingError();
  if (request.offset_bytes != 0) return UnknownUploadError();
  if (request.size_bytes.value_or(0) > context_.config.limits.payload_bytes_max) {
    return UploadTooLargeError(*request.size_bytes, context_.config.limits.payload_bytes_max);
  }
  upload->reservation =
      context_.quota.ReserveUpload(upload->tenant, request.size_bytes.value_or(0));
  if (upload->reservation.is_refused()) return upload->reservation.refusal();
  auto leases = context_.storage.ReserveSlots(1);
  RETURN_IF_ERROR(leases.status());
  const int64_t now_ms = context_.time.Read().steady_ms;
  upload->stored.key = {.id = request.call_id, .tenant = upload->tenant->number};
  upload->stored.kind = request.kind;
  upload->stored.payload = StoredPayload{.slot = leases->front().ref,
                                         .attempt = request.attempt,
                                         .size_bytes = request.size_bytes.value_or(0),
                                         .stored_ms = now_ms,
                                         .deadline_ms = now_ms + request.ttl_ms};
  upload->secret = std::move(leases->front().secret);
  upload->metadata = request.metadata;
  upload->announced_bytes = request.size_bytes;
  return absl::OkStatus();
}

// Told before a byte is sent. The segments reserve what they take as they come: by then the log may
// have let go of the first of them.
absl::Status Uploads::CheckRoom(const Upload& upload) const {
  const uint64_t bytes =
      upload.announced_bytes.value_or(0) + RoomBudget::CostOfRow(SizeOf(upload.metadata));
  if (!turns_.MayBegin(context_.time.Read().elapsed_ms)) {
    return UploadMayNotBeginError();
  }
  const RoomLease room = context_.quota.ReserveRoom(bytes);
  return room.empty() ? context_.quota.RoomRefusal(bytes) : absl::OkStatus();
}

absl::Status Uploads::KeepNew(Upload* upload) {
  StoredUpload& stored = upload->stored;
  auto sealed = context_.cipher.SealMetadata(stored.key, stored.kind, *upload->secret,
                                             upload->metadata, &stored.payload);
  RETURN_IF_ERROR(sealed.status());
  stored.metadata = *std::move(sealed);
  absl::Status kept;
  {
    MutexLock lock(&upload->keep_mutex);
    if (upload->call_has_ended) return absl::OkStatus();
    kept = context_.storage.StoreUpload(stored, *upload->secret);
  }
  upload->secret.reset();
  if (!kept.ok()) {
    // Written or not: the next start tells.
    End(upload);
    context_.failure.Report(kept);
    return kept;
  }
  upload->has_begun = true;
  upload->turn = turns_.Enter();
  upload->active_ms = context_.time.Read().elapsed_ms;
  return absl::OkStatus();
}

absl::Status Uploads::Resume(Upload* upload, const NewUpload& request) {
  const StoredUpload& stored = upload->stored;
  if (stored.key.id != request.call_id || stored.kind != request.kind ||
      stored.payload.attempt != request.attempt) {
    return MakeError(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid,
                     "header.upload_id is that of an upload to another call, kind or attempt");
  }
  RETURN_IF_ERROR(Restore(upload));
  DropUnwritten(upload);
  if (request.offset_bytes != upload->committed_bytes) {
    return UploadOffsetError("header.offset_bytes", request.offset_bytes, upload->committed_bytes);
  }
  return absl::OkStatus();
}

// It is sent again.
void Uploads::DropUnwritten(Upload* upload) {
  if (upload->small.empty()) return;
  std::string().swap(upload->small);  // assigning would keep its memory
  upload->crc32c = 0;
  upload->has_last = false;
}

absl::Status Uploads::Restore(Upload* upload) {
  if (upload->is_restored) return absl::OkStatus();
  const StoredUpload& stored = upload->stored;
  const auto secret = context_.storage.ReadSecret(stored.payload.slot);
  RETURN_IF_ERROR(secret.status());
  while (!upload->has_last) {
    const auto segment =
        context_.storage.ReadSegment(stored.key, stored.payload.slot, upload->segment_count);
    if (absl::IsNotFound(segment.status())) break;
    RETURN_IF_ERROR(segment.status());
    const auto data = context_.cipher.OpenSegment(stored.key, stored.kind, stored.payload, *secret,
                                                  upload->segment_count, *segment);
    // It is sent again, as what follows it is.
    if (!data.ok()) break;
    upload->crc32c = ExtendCrc32c(upload->crc32c, AsBytes(*data));
    upload->commitments.Update(CommitmentOf(segment->bytes()));
    upload->committed_bytes += data->size();
    upload->has_last = data->size() < kSegmentBytes;
    ++upload->segment_count;
  }
  upload->is_restored = true;
  return upload->reservation.HoldBytes(static_cast<int64_t>(upload->committed_bytes));
}

void Uploads::Query(Tenant* tenant, const UploadId& id,
                    absl::AnyInvocable<void(absl::StatusOr<UploadProgress>)> done) {
  const std::shared_ptr<Upload> upload = Find(tenant, id);
  if (upload == nullptr) {
    return router_.RunOnWorker([done = std::move(done)]() mutable { done(UnknownUploadError()); });
  }
  AddStep(upload, [this, upload, done = std::move(done)]() mutable {
    absl::Status status =
        upload->has_ended || !upload->has_begun ? UnknownUploadError() : Restore(upload.get());
    if (status.ok()) {
      const Now now = context_.time.Read();
      const int64_t idle_ms = now.elapsed_ms - upload->active_ms;
      done(UploadProgress{.call_id = upload->stored.key.id,
                          .committed_bytes = upload->committed_bytes,
                          .expire_ms = std::min(now.steady_ms + idle_timeout_ms() - idle_ms,
                                                upload->stored.payload.deadline_ms)});
    } else {
      done(std::move(status));
    }
    EndStep(upload);
  });
}

}  // namespace mayfly
