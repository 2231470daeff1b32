#include "rpc/put_stream.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "rpc/answer.h"
#include "rpc/valid_items.h"
#include "rpc/validation.h"

namespace mayfly {

grpc::ServerBidiReactor<v1::StreamPutsRequest, v1::StreamPutsResponse>* PutStream::Begin(
    grpc::CallbackServerContext* context, const Config& config, Admission* admission,
    const StreamSurroundings& surroundings) {
  return std::make_shared<PutStream>(context, config, admission, surroundings)->Start();
}

PutStream::PutStream(grpc::CallbackServerContext* context, const Config& config,
                     Admission* admission, const StreamSurroundings& surroundings)
    : BidiStream(Rpc::kStreamPuts, context, surroundings), config_(config), admission_(admission) {
  const auto admitted = admission->AdmitCall(*context->auth_context(), Rpc::kStreamPuts);
  if (!admitted.ok()) {
    closing_ = admitted.status();
    return;
  }
  admission->ProveConnection(*context, *admitted->tenant);
  store_ = admitted->store;
  tenant_ = admitted->tenant;
  role_ = admitted->role;
  OpenFor(*admitted);
}

absl::Duration PutStream::OnMessage(const v1::StreamPutsRequest& request) {
  if (absl::Status status = CheckMessage(request); !status.ok()) {
    Close(status);
    return absl::ZeroDuration();
  }
  const int64_t count = request.inputs_size() + request.outputs_size();
  // The client is slowed down instead of rejected: it would only send the items again.
  const absl::Status rate = admission_->TakeRate(tenant_, count);
  if (!rate.ok()) return RetryDelayOf(rate);

  auto answer = std::make_shared<Answer>();
  answer->response = std::make_unique<v1::StreamPutsResponse>();
  answer->response->set_sequence(request.sequence());
  answer->request_bytes = request.ByteSizeLong();
  {
    MutexLock lock(&mutex_);
    if (closing_.has_value()) return absl::ZeroDuration();
    CountItems(count);
    ++unanswered_count_;
    unanswered_bytes_ += answer->request_bytes;
  }
  // The payloads are sealed when these return, so the message need not be kept.
  if (request.inputs_size() > 0) {
    PutInputs(request, std::move(answer));
  } else {
    PutOutputs(request, std::move(answer));
  }
  return absl::ZeroDuration();
}

absl::Status PutStream::CheckMessage(const v1::StreamPutsRequest& request) const {
  if (request.inputs_size() > 0 && request.outputs_size() > 0) {
    return FieldError("outputs", absl::StrCat(request.outputs_size(), " items long"),
                      "expected inputs or outputs, not both");
  }
  const bool has_outputs = request.outputs_size() > 0;
  const PayloadKind kind = has_outputs ? PayloadKind::kOutput : PayloadKind::kInput;
  const bool is_empty = !has_outputs && request.inputs_size() == 0;
  if (!is_empty && !MayPut(role_, kind)) return KindRefusedError(role_, Rpc::kStreamPuts, kind);
  if (has_outputs || (is_empty && role_ == Role::kWorker)) {
    return admission_->CheckCount("outputs", request.outputs_size(), /*count_min=*/1);
  }
  return admission_->CheckCount("inputs", request.inputs_size(), /*count_min=*/1);
}

void PutStream::PutInputs(const v1::StreamPutsRequest& request, std::shared_ptr<Answer> answer) {
  const ValidationLimits limits = {.config = &config_, .retention = &tenant_->policy().retention};
  auto valid = ReadItems<NewPut>(
      request.inputs(), "inputs", answer->response->mutable_input_results(), log(),
      [&](const v1::InputItem& item, const FieldPlace& place) {
        return ReadInputItem(item, place, limits, [&] { return store_->MintCallId(); });
      });
  NameMintedCalls(valid);
  auto self = std::static_pointer_cast<PutStream>(shared_from_this());
  store_->Put(tenant_, std::move(valid.values),
              [self, answer, results = std::move(valid.results)](std::vector<PutResult> puts) {
                WriteResults(std::move(puts), results, self->log());
                self->Answered(answer.get());
              });
}

void PutStream::PutOutputs(const v1::StreamPutsRequest& request, std::shared_ptr<Answer> answer) {
  const ValidationLimits limits = {.config = &config_, .retention = &tenant_->policy().retention};
  auto valid =
      ReadItems<NewPut>(request.outputs(), "outputs", answer->response->mutable_output_results(),
                        log(), [&](const v1::OutputItem& item, const FieldPlace& place) {
                          return ReadOutputItem(item, place, limits);
                        });
  auto self = std::static_pointer_cast<PutStream>(shared_from_this());
  store_->Put(tenant_, std::move(valid.values),
              [self, answer, results = std::move(valid.results)](std::vector<PutResult> puts) {
                WriteResults(std::move(puts), results, self->log());
                self->Answered(answer.get());
              });
}

void PutStream::Answered(Answer* answer) {
  MutexLock lock(&mutex_);
  answered_.push_back(std::move(*answer));
  Advance();
}

bool PutStream::WantsMessage() {
  return !closing_.has_value() && unanswered_count_ < kUnansweredMax &&
         unanswered_bytes_ < kUnansweredBytesMax;
}

std::unique_ptr<v1::StreamPutsResponse> PutStream::NextResponse() {
  if (answered_.empty()) return nullptr;
  Answer answer = std::move(answered_.front());
  answered_.pop_front();
  written_bytes_ = answer.request_bytes;
  return std::move(answer.response);
}

void PutStream::OnWritten() {
  MutexLock lock(&mutex_);
  --unanswered_count_;
  unanswered_bytes_ -= std::exchange(written_bytes_, 0);
}

void PutStream::OnBroken() { Close(absl::CancelledError()); }

void PutStream::Close(const absl::Status& status) {
  MutexLock lock(&mutex_);
  if (!closing_.has_value()) closing_ = status;
  Advance();
}

std::optional<absl::Status> PutStream::Outcome() {
  if (unanswered_count_ > 0 && !broken()) return std::nullopt;
  return closing_;
}

}  // namespace mayfly
