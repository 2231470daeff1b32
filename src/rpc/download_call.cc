#include "rpc/download_call.h"

#include <utility>

#include "rpc/answer.h"
#include "rpc/status.h"
#include "rpc/validation.h"

namespace mayfly {

DownloadCall::DownloadCall(InFlight* in_flight, OpenCalls* open_calls, Log* log, Clock* clock)
    : record_(Rpc::kDownload, in_flight, log, clock),
      open_call_(open_calls, OpenCall::Kind::kDownload) {}

void DownloadCall::Refuse(const absl::Status& status) {
  Next next;
  {
    MutexLock lock(&mutex_);
    outcome_ = status;
    next = Decide();
  }
  Do(next);
}

void DownloadCall::Start(const Admitted& admitted, const v1::DownloadRequest& request,
                         grpc::CallbackServerContext* context) {
  admitted_ = admitted;
  open_call_.Open(context->c_call(), admitted.chain, admitted.tenant);
  record_.set_tenant(admitted.tenant->name);
  auto read = ReadDownloadRequest(request);
  if (!read.ok()) return Refuse(read.status());
  read->taker = &open_call_;
  if (!MayRead(admitted.role, read->kind)) {
    return Refuse(KindRefusedError(admitted.role, Rpc::kDownload, read->kind));
  }
  {
    MutexLock lock(&mutex_);
    is_reading_ = true;
  }
  admitted.store->BeginDownload(
      admitted.tenant, *read,
      [this](absl::StatusOr<std::shared_ptr<Download>> download) { OnBegun(std::move(download)); });
}

void DownloadCall::OnBegun(absl::StatusOr<std::shared_ptr<Download>> download) {
  v1::DownloadResponse header;
  if (download.ok()) {
    download_ = *std::move(download);
    WriteDownloadHeader(*download_, header.mutable_header());
  }
  Next next;
  {
    MutexLock lock(&mutex_);
    is_reading_ = false;
    if (download_ == nullptr) {
      if (!outcome_.has_value()) outcome_ = download.status();
    } else {
      next_ = std::move(header);
    }
    next = Decide();
  }
  Do(next);
}

void DownloadCall::ReadNext() {
  download_->Read([this](absl::StatusOr<std::string> data) { OnRead(std::move(data)); });
}

void DownloadCall::OnRead(absl::StatusOr<std::string> data) {
  v1::DownloadResponse response;
  const bool is_last = data.ok() && data->empty();
  if (is_last) {
    response.mutable_finish()->set_size_bytes(download_->stored().size_bytes);
    response.mutable_finish()->set_crc32c(download_->metadata().crc32c);
  } else if (data.ok()) {
    ++segment_count_;
    response.mutable_segment()->set_offset_bytes(download_->offset_bytes() - data->size());
    *response.mutable_segment()->mutable_data() = *std::move(data);
  }
  Next next;
  {
    MutexLock lock(&mutex_);
    is_reading_ = false;
    has_last_ = is_last;
    if (!data.ok()) {
      if (!outcome_.has_value()) outcome_ = data.status();
    } else {
      next_ = std::move(response);
    }
    next = Decide();
  }
  Do(next);
}

void DownloadCall::OnWriteDone(bool ok) {
  Next next;
  const bool may_go_on = open_call_.EndWrite();
  {
    MutexLock lock(&mutex_);
    is_writing_ = false;
    // The payload has ended since the segment was read; the next read returns the reason.
    if (!may_go_on && !has_last_) next_.reset();
    if (!ok && !outcome_.has_value()) outcome_ = absl::CancelledError("the client disconnected");
    if (has_last_ && !next_.has_value() && !outcome_.has_value()) outcome_ = absl::OkStatus();
    next = Decide();
  }
  Do(next);
}

DownloadCall::Next DownloadCall::Decide() {
  Next next;
  if (is_finished_) return next;
  if (outcome_.has_value()) {
    // Segments are sent in the order in which they were read, and an error after them.
    if (is_reading_ || is_writing_) return next;
    is_finished_ = true;
    next.outcome = outcome_;
    return next;
  }
  if (!is_writing_ && next_.has_value()) {
    sending_ = *std::exchange(next_, std::nullopt);
    is_writing_ = next.writes = true;
  }
  if (!is_reading_ && !next_.has_value() && !has_last_ && download_ != nullptr) {
    is_reading_ = next.reads = true;
  }
  return next;
}

void DownloadCall::Do(const Next& next) {
  if (next.outcome.has_value()) {
    const grpc::Status wire = absl::IsCancelled(*next.outcome)
                                  ? grpc::Status::CANCELLED
                                  : ToGrpcStatus(*next.outcome, record_.log());
    record_.Write(wire, segment_count_);
    return Finish(wire);
  }
  // The operation started last may end this call.
  if (next.writes) {
    open_call_.BeginWrite();
    StartWrite(&sending_);
  }
  if (next.reads) ReadNext();
}

}  // namespace mayfly
