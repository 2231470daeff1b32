#include "client/upload_transfer.h"

#include <algorithm>
#include <string.h>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "client/convert.h"
#include "client/limits.h"
#include "client/pause.h"
#include "client/random.h"
#include "client/server_time.h"
#include "client/status.h"
#include "client/time_budget.h"
#include "client/upload_id.h"
#include "mayfly/client.h"

namespace mayfly::client {
namespace {

// The server does not know an upload that has ended, stored or abandoned. Uploading again finds out
// which.
bool MayGoOn(const absl::Status& status) {
  return absl::IsUnavailable(status) || ReasonOf(status) == Reason::kOffsetMismatch ||
         ReasonOf(status) == Reason::kUploadUnknown;
}

}  // namespace

absl::StatusOr<size_t> StringSource::ReadAt(uint64_t offset, char* buffer, size_t size) {
  if (offset >= data_.size()) return size_t{0};
  size = std::min(size, data_.size() - static_cast<size_t>(offset));
  memcpy(buffer, data_.data() + offset, size);
  return size;
}

UploadTransfer::UploadTransfer(const std::shared_ptr<Core>& core, PayloadSource* source,
                               const CallOptions& options)
    : core_(core),
      source_(source),
      progress_(options.progress),
      watch_(TransferWatch::Start(*core, options)),
      crc32c_before_(1, 0),
      size_(source->SizeBytes()) {}

UploadTransfer::UploadTransfer(const std::shared_ptr<Core>& core, Input input,
                               PayloadSource* source, const CallOptions& options)
    : UploadTransfer(core, source, options) {
  id_is_minted_ = input.call_id.empty();
  if (id_is_minted_) input.call_id = MintCallId();
  ToProto(std::move(input), header_.mutable_input());
  SetUploadId();
}

UploadTransfer::UploadTransfer(const std::shared_ptr<Core>& core, Output output,
                               PayloadSource* source, const CallOptions& options)
    : UploadTransfer(core, source, options) {
  ToProto(std::move(output), header_.mutable_output());
  SetUploadId();
}

v1::Payload* UploadTransfer::payload() {
  return header_.has_input() ? header_.mutable_input()->mutable_payload()
                             : header_.mutable_output()->mutable_payload();
}

void UploadTransfer::SetUploadId() {
  payload()->clear_crc32c();
  if (size_.has_value()) header_.set_size_bytes(*size_);
  header_.set_upload_id(UploadIdOf(header_));
}

bool UploadTransfer::MayMintAgain(const absl::Status& status) {
  if (!header_.has_input() || !LearnServerTime(header_.input().call_id(), status)) return false;
  if (!std::exchange(id_is_minted_, false)) return false;
  header_.mutable_input()->set_call_id(MintCallId());
  SetUploadId();
  committed_ = 0;
  return true;
}

bool UploadTransfer::MayBeginAnew(const absl::Status& status) {
  if (ReasonOf(status) != Reason::kChecksumMismatch || !has_resumed_ || has_begun_anew_)
    return false;
  // The server has dropped the data. It is sent again, once.
  committed_ = 0;
  has_begun_anew_ = true;
  return true;
}

absl::StatusOr<Stored> UploadTransfer::Run() {
  const RetryPolicy& policy = core_->options().retry;
  int failures = 0;  // since the server kept more than before
  while (true) {
    absl::StatusOr<Stored> stored = SendOnce();
    RETURN_IF_ERROR(source_error_);
    if (MayMintAgain(stored.status()) || MayBeginAnew(stored.status())) continue;
    if (stored.ok() || !MayGoOn(stored.status())) {
      return stored.ok() ? stored : watch_->Verdict(stored.status());
    }
    absl::Status status = stored.status();
    do {
      const uint64_t committed_before = most_committed_;
      if (++failures >= policy.attempts_max) return watch_->Verdict(status);
      RETURN_IF_ERROR(
          watch_->Pause(std::max(PauseAfter(failures - 1, policy), RetryDelayOf(status))));
      status = QueryCommitted();
      if (most_committed_ > committed_before) failures = 0;
    } while (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status));
    RETURN_IF_ERROR(watch_->Verdict(status));
  }
}

void UploadTransfer::WriteHeader() {
  header_.set_offset_bytes(committed_);
  if (size_.has_value()) header_.set_size_bytes(*size_);
  // So that a payload whose answer was lost is recognised before it is sent again.
  if (whole_was_read_) payload()->set_crc32c(crc32c_before_.back());
  *request_.mutable_header() = header_;
}

absl::StatusOr<Stored> UploadTransfer::SendOnce() {
  grpc::ClientContext context;
  watch_->Attach(&context);
  v1::UploadResponse response;
  const auto stub = core_->connections()->NextLargeStub();
  const auto writer = stub->Upload(&context, &response);
  WriteHeader();
  absl::Status status;
  if (writer->Write(request_)) status = SendSegments(writer.get());
  if (!status.ok()) context.TryCancel();  // the part that was sent must not look like the whole
  writer->WritesDone();
  absl::Status answer = core_->connections()->Explain(StatusFromGrpc(writer->Finish()), stub);
  watch_->Attach(nullptr);
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(answer);
  Stored stored{.call_id = std::move(*response.mutable_call_id()), .deadline = std::nullopt};
  if (response.has_deadline_time()) stored.deadline = FromProto(response.deadline_time());
  return stored;
}

absl::Status UploadTransfer::SendSegments(grpc::ClientWriterInterface<v1::UploadRequest>* writer) {
  uint64_t offset = committed_;
  while (true) {
    source_error_ = ReadSegment(offset);
    RETURN_IF_ERROR(source_error_);
    const size_t bytes = request_.segment().data().size();
    if (bytes == 0) break;
    // The server has ended the stream; Finish returns why.
    if (!writer->Write(request_)) return absl::OkStatus();
    offset += bytes;
    watch_->OnProgress();
    if (progress_) progress_(offset, size_);
    if (bytes < kSegmentBytes) break;
  }
  if (size_.has_value() && *size_ != offset) {
    source_error_ = absl::OutOfRangeError(
        absl::StrCat("the source ended at ", offset, " bytes, it had said ", *size_));
    return source_error_;
  }
  size_ = offset;
  whole_was_read_ = true;
  request_.mutable_finish()->set_size_bytes(offset);
  request_.mutable_finish()->set_crc32c(crc32c_before_.back());
  writer->Write(request_);
  return absl::OkStatus();
}

absl::Status UploadTransfer::ReadSegment(uint64_t offset) {
  const size_t index = offset / kSegmentBytes;
  const bool is_known_end = offset % kSegmentBytes != 0;  // all of it was committed
  std::string* data = request_.mutable_segment()->mutable_data();
  request_.mutable_segment()->set_offset_bytes(offset);
  data->resize(is_known_end ? 0 : kSegmentBytes);
  if (is_known_end) return absl::OkStatus();
  size_t filled = 0;
  while (filled < kSegmentBytes) {
    watch_->BeginCallersTurn();
    const absl::StatusOr<size_t> read =
        source_->ReadAt(offset + filled, data->data() + filled, kSegmentBytes - filled);
    watch_->EndCallersTurn();
    RETURN_IF_ERROR(read.status());
    if (*read == 0) break;
    filled += *read;
  }
  data->resize(filled);
  const uint32_t crc32c = ExtendCrc32c(crc32c_before_[index], AsBytes(*data));
  const bool was_read_before = crc32c_before_.size() > index + 1;
  if (was_read_before && crc32c_before_[index + 1] != crc32c) {
    return absl::FailedPreconditionError(
        absl::StrCat("the source reads otherwise than before at ", offset, " bytes"));
  }
  if (!was_read_before && filled > 0) crc32c_before_.push_back(crc32c);
  read_bytes_ = std::max(read_bytes_, offset + filled);
  return absl::OkStatus();
}

absl::Status UploadTransfer::QueryCommitted() {
  grpc::ClientContext context;
  context.set_deadline(FromNow(watch_->Left() / 2));  // a lost answer leaves time for another
  watch_->Attach(&context);
  v1::QueryUploadRequest request;
  request.set_upload_id(header_.upload_id());
  v1::QueryUploadResponse response;
  const auto stub = core_->connections()->NextStub();
  const absl::Status status = core_->connections()->Explain(
      StatusFromGrpc(stub->QueryUpload(&context, request, &response)), stub);
  watch_->Attach(nullptr);
  committed_ = 0;
  if (ReasonOf(status) == Reason::kUploadUnknown) return absl::OkStatus();
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(ReadUpTo(response.committed_bytes()));
  most_committed_ = std::max(most_committed_, committed_);
  return absl::OkStatus();
}

absl::Status UploadTransfer::ReadUpTo(uint64_t committed) {
  committed_ = committed;
  has_resumed_ |= committed > 0;
  uint64_t read = read_bytes_;
  // A segment that is shorter than the others is the source's last one.
  while (read < committed && read % kSegmentBytes == 0) {
    source_error_ = ReadSegment(read);
    RETURN_IF_ERROR(source_error_);
    const size_t bytes = request_.segment().data().size();
    read += bytes;
    if (bytes < kSegmentBytes) break;
  }
  // A stream resumes where a segment begins, or at the source's end.
  const bool is_in_place = committed % kSegmentBytes == 0 ? read >= committed : read == committed;
  if (is_in_place) return absl::OkStatus();
  // Of another payload, which was longer, or was shorter and sent to its end: the server sweeps it.
  header_.set_upload_id(NewClaimToken());
  committed_ = 0;
  return absl::OkStatus();
}

}  // namespace mayfly::client
