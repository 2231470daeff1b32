#include "client/download_transfer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "client/convert.h"
#include "client/limits.h"
#include "client/pause.h"
#include "client/reclaim.h"
#include "client/status.h"
#include "mayfly/client.h"

namespace mayfly::client {
namespace {

absl::Status Damaged(const std::string& what) {
  return MakeError(absl::StatusCode::kDataLoss, Reason::kChecksumMismatch, what);
}

class StringSink : public PayloadSink {
 public:
  explicit StringSink(uint64_t bytes_max) : bytes_max_(bytes_max) {}

  absl::Status WriteAt(uint64_t offset, absl::string_view data) override {
    if (offset + data.size() > bytes_max_) return TooLarge(offset + data.size(), bytes_max_);
    if (offset == 0) data_.clear();
    data_.append(data.data(), data.size());
    return absl::OkStatus();
  }
  absl::Status Finish(uint64_t size) override {
    data_.resize(size);  // without pieces there was no first one to clear it
    return absl::OkStatus();
  }

  static absl::Status TooLarge(uint64_t size, uint64_t bytes_max) {
    return absl::OutOfRangeError(
        absl::StrCat("payload is ", size, " bytes, data_bytes_max is ", bytes_max));
  }
  std::string TakeData() { return std::move(data_); }

 private:
  const uint64_t bytes_max_;
  std::string data_;
};

}  // namespace

DownloadTransfer::DownloadTransfer(const std::shared_ptr<Core>& core, PayloadSink* sink,
                                   const CallOptions& options)
    : core_(core),
      sink_(sink),
      progress_(options.progress),
      cancellation_(options.cancellation),
      watch_(TransferWatch::Start(*core, options)) {}

absl::StatusOr<StoredInput> DownloadTransfer::RunInput(const std::string& call_id) {
  request_.set_call_id(call_id);
  request_.set_kind(v1::PAYLOAD_KIND_INPUT);
  RETURN_IF_ERROR(BeginVersion({}));
  RETURN_IF_ERROR(Run());
  return StoredInput{.call_id = call_id,
                     .payload = WithoutData(header_->mutable_payload()),
                     .size_bytes = offset_,
                     .deadline = FromProto(header_->deadline_time())};
}

absl::StatusOr<ClaimedOutput> DownloadTransfer::RunOutput(ClaimedOutput output) {
  request_.set_call_id(output.claim.call_id);
  request_.set_kind(v1::PAYLOAD_KIND_OUTPUT);
  request_.set_claim_token(output.claim.token);
  request_.set_fence(output.claim.fence);
  RETURN_IF_ERROR(BeginVersion({.attempt = output.attempt, .size_bytes = output.size_bytes}));
  RETURN_IF_ERROR(Run());
  output.claim.token = request_.claim_token();
  output.claim.fence = request_.fence();
  output.claim.crc32c = crc32c_;
  output.attempt = header_->attempt();
  output.outcome = OutcomeFromProto(header_->outcome());
  output.payload = WithoutData(header_->mutable_payload());
  output.size_bytes = offset_;
  output.data_omitted = true;
  return output;
}

absl::Status DownloadTransfer::BeginVersion(const PayloadVersion& version) {
  watch_->BeginCallersTurn();
  sink_error_ = ReadKept(version);
  watch_->EndCallersTurn();
  return sink_error_;
}

absl::Status DownloadTransfer::ReadKept(const PayloadVersion& version) {
  version_ = version;
  offset_ = 0;
  crc32c_ = 0;
  const absl::StatusOr<uint64_t> kept = sink_->KeptBytes(version);
  RETURN_IF_ERROR(kept.status());
  std::string piece(std::min<uint64_t>(*kept, kSegmentBytes), '\0');
  while (offset_ < *kept) {
    RETURN_IF_ERROR(watch_->Verdict(absl::OkStatus()));
    const absl::StatusOr<size_t> read =
        sink_->ReadKept(offset_, piece.data(), std::min<uint64_t>(*kept - offset_, piece.size()));
    RETURN_IF_ERROR(read.status());
    if (*read == 0) break;
    crc32c_ = ExtendCrc32c(crc32c_, AsBytes(absl::string_view(piece.data(), *read)));
    offset_ += *read;
  }
  has_resumed_ = offset_ > 0;
  return absl::OkStatus();
}

bool DownloadTransfer::MayBeginAnew(const absl::Status& status) {
  const Reason reason = ReasonOf(status);
  const bool kept_is_another =
      reason == Reason::kChecksumMismatch || reason == Reason::kOffsetMismatch;
  if (!kept_is_another || !has_resumed_ || has_begun_anew_) return false;
  offset_ = 0;
  crc32c_ = 0;
  has_begun_anew_ = true;
  return true;
}

absl::Status DownloadTransfer::Run() {
  const RetryPolicy& policy = core_->options().retry;
  int failures = 0;  // since something was received
  while (true) {
    moved_on_ = false;
    absl::Status status = ReceiveOnce();
    if (status.ok()) return sink_->Finish(offset_);
    RETURN_IF_ERROR(sink_error_);
    if (MayBeginAnew(status)) continue;
    failures = moved_on_ ? 1 : failures + 1;
    const bool claim_was_lost = ReasonOf(status) == Reason::kClaimLost;
    // OVERLOADED: other downloads fill the server's send buffers.
    const bool must_wait = absl::IsUnavailable(status) || ReasonOf(status) == Reason::kOverloaded;
    if ((!must_wait && !claim_was_lost) || failures >= policy.attempts_max) {
      return watch_->Verdict(status);
    }
    RETURN_IF_ERROR(
        watch_->Pause(std::max(PauseAfter(failures - 1, policy), RetryDelayOf(status))));
    if (claim_was_lost) RETURN_IF_ERROR(watch_->Verdict(Reclaim()));
  }
}

absl::Status DownloadTransfer::ReceiveOnce() {
  grpc::ClientContext context;
  watch_->Attach(&context);
  request_.set_offset_bytes(offset_);
  finished_ = false;
  const auto stub = core_->connections()->NextLargeStub();
  const auto reader = stub->Download(&context, request_);
  v1::DownloadResponse response;
  absl::Status taken;
  while (taken.ok() && reader->Read(&response)) {
    switch (response.step_case()) {
      case v1::DownloadResponse::kHeader:
        taken = Take(response.header());
        break;
      case v1::DownloadResponse::kSegment:
        taken = Take(response.segment());
        break;
      case v1::DownloadResponse::kFinish:
        taken = Take(response.finish());
        break;
      case v1::DownloadResponse::STEP_NOT_SET:
        break;  // of a later version
    }
  }
  if (!taken.ok()) context.TryCancel();
  const absl::Status status = core_->connections()->Explain(StatusFromGrpc(reader->Finish()), stub);
  watch_->Attach(nullptr);
  RETURN_IF_ERROR(taken);
  RETURN_IF_ERROR(status);
  if (!finished_) return absl::UnavailableError("the download ended before its finish");
  return absl::OkStatus();
}

absl::Status DownloadTransfer::Take(const v1::DownloadHeader& header) {
  const bool is_another_version =
      request_.kind() == v1::PAYLOAD_KIND_OUTPUT &&
      (header.attempt() != version_.attempt || header.size_bytes() != version_.size_bytes);
  const bool is_another =
      is_another_version ||
      (header_.has_value() && (header.size_bytes() != header_->size_bytes() ||
                               header.payload().crc32c() != header_->payload().crc32c()));
  const uint64_t asked_for = offset_;
  header_ = header;
  if (!is_another) return absl::OkStatus();
  RETURN_IF_ERROR(BeginVersion({.attempt = header.attempt(), .size_bytes = header.size_bytes()}));
  if (offset_ == asked_for) return absl::OkStatus();
  return absl::UnavailableError("the payload was replaced while it was downloaded");
}

absl::Status DownloadTransfer::Take(const v1::DownloadSegment& segment) {
  if (!header_.has_value() || finished_) {
    return absl::InternalError("the server sent a segment where none belongs");
  }
  if (segment.offset_bytes() != offset_ ||
      segment.data().size() > header_->size_bytes() - offset_) {
    return absl::InternalError(absl::StrCat("the server sent ", segment.data().size(), " bytes at ",
                                            segment.offset_bytes(), ", wanted are ",
                                            header_->size_bytes() - offset_, " at ", offset_));
  }
  watch_->BeginCallersTurn();
  sink_error_ = sink_->WriteAt(offset_, segment.data());
  watch_->EndCallersTurn();
  RETURN_IF_ERROR(sink_error_);
  crc32c_ = ExtendCrc32c(crc32c_, AsBytes(segment.data()));
  offset_ += segment.data().size();
  moved_on_ = true;
  watch_->OnProgress();
  if (progress_) progress_(offset_, header_->size_bytes());
  return absl::OkStatus();
}

absl::Status DownloadTransfer::Take(const v1::DownloadFinish& finish) {
  if (!header_.has_value() || finish.size_bytes() != header_->size_bytes()) {
    return absl::InternalError("the server finished another payload than it had begun");
  }
  if (offset_ != finish.size_bytes()) {
    return absl::UnavailableError(
        absl::StrCat("the server finished after ", offset_, " bytes of ", finish.size_bytes()));
  }
  const bool differs_from_header =
      header_->payload().has_crc32c() && header_->payload().crc32c() != finish.crc32c();
  if (finish.crc32c() != crc32c_ || differs_from_header) {
    return Damaged(absl::StrCat("the payload of ", offset_,
                                " bytes arrived without the crc32c that came with it"));
  }
  finished_ = true;
  return absl::OkStatus();
}

absl::Status DownloadTransfer::Reclaim() {
  if (request_.kind() != v1::PAYLOAD_KIND_OUTPUT) return absl::InternalError("an input is claimed");
  ClaimOptions options = ReclaimOptions(request_.claim_token(), watch_->Left());
  options.cancellation = cancellation_;
  const absl::StatusOr<ClaimedOutput> claimed =
      OnlyOutput(Client(core_).ClaimOutputs({request_.call_id()}, std::move(options)),
                 ClaimLostError("another client has it now"));
  RETURN_IF_ERROR(claimed.status());
  request_.set_claim_token(claimed->claim.token);
  request_.set_fence(claimed->claim.fence);
  return absl::OkStatus();
}

absl::StatusOr<StoredInput> DownloadInputToMemory(const std::shared_ptr<Core>& core,
                                                  const std::string& call_id, uint64_t size_bytes,
                                                  const CallOptions& options) {
  const uint64_t bytes_max = core->options().data_bytes_max;
  if (size_bytes > bytes_max) return StringSink::TooLarge(size_bytes, bytes_max);
  StringSink sink(bytes_max);
  absl::StatusOr<StoredInput> input = DownloadTransfer(core, &sink, options).RunInput(call_id);
  if (input.ok()) input->payload.data = sink.TakeData();
  return input;
}

absl::StatusOr<ClaimedOutput> DownloadOutputToMemory(const std::shared_ptr<Core>& core,
                                                     ClaimedOutput output, uint64_t data_bytes_max,
                                                     const CallOptions& options) {
  if (output.size_bytes > data_bytes_max) {
    return StringSink::TooLarge(output.size_bytes, data_bytes_max);
  }
  StringSink sink(data_bytes_max);
  absl::StatusOr<ClaimedOutput> whole =
      DownloadTransfer(core, &sink, options).RunOutput(std::move(output));
  if (!whole.ok()) return whole;
  whole->payload.data = sink.TakeData();
  whole->data_omitted = false;
  return whole;
}

}  // namespace mayfly::client
