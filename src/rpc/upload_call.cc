#include "rpc/upload_call.h"

#include <utility>

#include "base/error.h"
#include "rpc/answer.h"
#include "rpc/status.h"
#include "rpc/validation.h"

namespace mayfly {
namespace {

absl::Status OrderError(absl::string_view text) {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid, text);
}

}  // namespace

UploadCall::UploadCall(const Config& config, InFlight* in_flight, OpenCalls* open_calls, Log* log,
                       Clock* clock, v1::UploadResponse* response)
    : config_(config),
      record_(Rpc::kUpload, in_flight, log, clock),
      open_call_(open_calls, OpenCall::Kind::kStream),
      response_(response) {}

void UploadCall::Start(const Admitted& admitted, grpc::CallbackServerContext* context) {
  admitted_ = admitted;
  open_call_.Open(context->c_call(), admitted.chain, admitted.tenant);
  record_.set_tenant(admitted.tenant->name);
  Next next;
  {
    MutexLock lock(&mutex_);
    next = Decide();
  }
  Do(next);
}

void UploadCall::Refuse(const absl::Status& status) {
  Next next;
  {
    MutexLock lock(&mutex_);
    outcome_ = status;
    next = Decide();
  }
  Do(next);
}

UploadCall::Next UploadCall::Decide() {
  Next next;
  if (is_finished_) return next;
  if (outcome_.has_value()) {
    // A read may be in flight: a client that waits for the response sends nothing more.
    if (steps_ > 0) return next;
    is_finished_ = true;
    next.outcome = outcome_;
  } else if (!is_reading_) {
    is_reading_ = next.reads = reads_on_ && steps_ == 0;
  }
  return next;
}

void UploadCall::Do(const Next& next) {
  if (next.outcome.has_value()) {
    const grpc::Status wire = ToGrpcStatus(*next.outcome, record_.log());
    record_.Write(wire, segment_count_);
    Finish(wire);
  } else if (next.reads) {
    StartRead(&request_);
  }
}

void UploadCall::BeginStep() {
  MutexLock lock(&mutex_);
  ++steps_;
}

void UploadCall::EndStep(std::optional<absl::Status> outcome) {
  Next next;
  {
    MutexLock lock(&mutex_);
    --steps_;
    if (outcome.has_value() && !outcome_.has_value()) outcome_ = std::move(outcome);
    next = Decide();
  }
  Do(next);
}

void UploadCall::OnReadDone(bool ok) {
  {
    MutexLock lock(&mutex_);
    is_reading_ = false;
    if (outcome_.has_value()) return;
    ++steps_;
  }
  const absl::Status status =
      ok ? TakeRequest() : OrderError("the stream ended without a finish: nothing is stored");
  EndStep(status.ok() ? std::nullopt : std::optional<absl::Status>(status));
}

absl::Status UploadCall::TakeRequest() {
  switch (request_.step_case()) {
    case v1::UploadRequest::kHeader:
      return TakeHeader();
    case v1::UploadRequest::kSegment:
      return TakeSegment();
    case v1::UploadRequest::kFinish:
      return TakeFinish();
    case v1::UploadRequest::STEP_NOT_SET:
      break;
  }
  return OrderError("step is not set, expected header, segment or finish");
}

absl::Status UploadCall::TakeHeader() {
  if (expects_ != Expects::kHeader) {
    return OrderError("step is header, expected one, as the first message");
  }
  const ValidationLimits limits = {.config = &config_,
                                   .retention = &admitted_.tenant->policy().retention};
  auto upload = ReadUploadHeader(request_.header(), limits);
  RETURN_IF_ERROR(upload.status());
  if (!MayPut(admitted_.role, upload->kind)) {
    return KindRefusedError(admitted_.role, Rpc::kUpload, upload->kind);
  }
  response_->set_call_id(upload->call_id.ToString());
  expects_ = Expects::kSegments;
  {
    // The segments cannot be processed before the store has answered.
    MutexLock lock(&mutex_);
    ++steps_;
    reads_on_ = false;
  }
  admitted_.store->BeginUpload(
      admitted_.tenant, *std::move(upload),
      [this](absl::StatusOr<BegunUpload> begun) { OnBegun(std::move(begun)); });
  return absl::OkStatus();
}

void UploadCall::OnBegun(absl::StatusOr<BegunUpload> begun) {
  if (!begun.ok()) return EndStep(begun.status());
  if (begun->stream == nullptr) {
    WriteDeadline(begun->deadline_ms, response_);
    return EndStep(absl::OkStatus());
  }
  stream_ = std::move(begun->stream);
  {
    MutexLock lock(&mutex_);
    reads_on_ = true;
  }
  EndStep(std::nullopt);
}

absl::Status UploadCall::TakeSegment() {
  if (expects_ != Expects::kSegments) {
    return OrderError("step is segment, expected after the header and before the finish");
  }
  v1::UploadSegment& segment = *request_.mutable_segment();
  RETURN_IF_ERROR(CheckUploadSegment(segment));
  ++segment_count_;
  BeginStep();
  stream_->Append(
      {.offset_bytes = segment.offset_bytes(), .data = std::move(*segment.mutable_data())},
      [this](absl::Status status) {
        EndStep(status.ok() ? std::nullopt : std::optional<absl::Status>(std::move(status)));
      });
  return absl::OkStatus();
}

absl::Status UploadCall::TakeFinish() {
  if (expects_ != Expects::kSegments) {
    return OrderError("step is finish, expected once, after the header");
  }
  if (!request_.finish().has_crc32c()) {
    return OrderError("finish.crc32c is missing, expected that of the whole payload");
  }
  expects_ = Expects::kNothing;
  {
    MutexLock lock(&mutex_);
    ++steps_;
    reads_on_ = false;
  }
  stream_->Finish(
      {.size_bytes = request_.finish().size_bytes(), .crc32c = request_.finish().crc32c()},
      [this](absl::StatusOr<int64_t> deadline_ms) { OnFinished(std::move(deadline_ms)); });
  return absl::OkStatus();
}

void UploadCall::OnFinished(absl::StatusOr<int64_t> deadline_ms) {
  if (!deadline_ms.ok()) return EndStep(deadline_ms.status());
  WriteDeadline(*deadline_ms, response_);
  EndStep(absl::OkStatus());
}

}  // namespace mayfly
