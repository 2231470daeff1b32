#include "rpc/output_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/bound.h"
#include "base/error.h"
#include "rpc/answer.h"
#include "rpc/range_check.h"
#include "rpc/valid_items.h"
#include "rpc/validation.h"

namespace mayfly {
namespace {

// The delay before a message is handled again because the store was behind.
constexpr absl::Duration kBehindDelay = absl::Milliseconds(5);

int64_t EntriesOf(const v1::StreamOutputsResponse& response) {
  return response.outputs_size() + response.ended_size() + response.ack_results_size() +
         response.release_results_size();
}

// Whether the client's claim on that call is over.
template <typename Result>
bool IsSettled(const Result& result) {
  return result.status().code() == static_cast<int>(absl::StatusCode::kOk);
}

}  // namespace

grpc::ServerBidiReactor<v1::StreamOutputsRequest, v1::StreamOutputsResponse>* OutputStream::Begin(
    grpc::CallbackServerContext* context, const Config& config, Admission* admission,
    const StreamSurroundings& surroundings) {
  return std::make_shared<OutputStream>(context, config, admission, surroundings)->Start();
}

OutputStream::OutputStream(grpc::CallbackServerContext* context, const Config& config,
                           Admission* admission, const StreamSurroundings& surroundings)
    : BidiStream(Rpc::kStreamOutputs, context, surroundings),
      config_(config),
      admission_(admission) {
  const auto admitted = admission->AdmitCall(*context->auth_context(), Rpc::kStreamOutputs);
  if (!admitted.ok()) {
    closing_ = admitted.status();
    released_ = true;
    return;
  }
  admission->ProveConnection(*context, *admitted->tenant);
  store_ = admitted->store;
  tenant_ = admitted->tenant;
  OpenFor(*admitted);
}

// ---- Messages

absl::Duration OutputStream::OnMessage(const v1::StreamOutputsRequest& request) {
  if (subscription_ != nullptr && subscription_->IsBehind()) return kBehindDelay;
  absl::Status status = CheckCounts(request);
  if (status.ok() && request.has_open() == (subscription_ != nullptr)) {
    status = FieldError("open", request.has_open() ? "repeated" : "missing",
                        "expected in the first message only");
  }
  if (status.ok()) {
    const int64_t count = request.subscribe_call_ids_size() + request.unsubscribe_call_ids_size() +
                          request.acks_size() + request.releases_size();
    const absl::Status rate = admission_->TakeRate(tenant_, count);
    // The client is slowed down instead of rejected: it would only have to start all over.
    if (!rate.ok()) return RetryDelayOf(rate);
    MutexLock lock(&mutex_);
    if (closing_.has_value()) return absl::ZeroDuration();
    CountItems(count);
  }
  if (status.ok() && request.has_open()) status = Open(request);
  if (status.ok()) {
    EndClaims(request);
    status = ChangeCalls(request);
  }
  if (!status.ok()) Close(status);
  return absl::ZeroDuration();
}

absl::Status OutputStream::CheckCounts(const v1::StreamOutputsRequest& request) const {
  RETURN_IF_ERROR(admission_->CheckCount("subscribe_call_ids", request.subscribe_call_ids_size()));
  RETURN_IF_ERROR(
      admission_->CheckCount("unsubscribe_call_ids", request.unsubscribe_call_ids_size()));
  RETURN_IF_ERROR(admission_->CheckCount("acks", request.acks_size()));
  return admission_->CheckCount("releases", request.releases_size());
}

absl::Status OutputStream::Open(const v1::StreamOutputsRequest& request) {
  auto read = ReadStreamOutputsOpen(request.open(), config_);
  RETURN_IF_ERROR(read.status());
  read->taker = taker();
  token_ = read->token;
  // The Subscription and the stream own each other until the Subscription has ended.
  auto self = std::static_pointer_cast<OutputStream>(shared_from_this());
  auto subscription = store_->Subscribe(
      tenant_, *read,
      [self = std::move(self)](Delivery delivery) { self->OnDelivery(std::move(delivery)); });
  MutexLock lock(&mutex_);
  // A thread that closes the stream from now on also ends the Subscription. One that closed it
  // before had none to end.
  if (closing_.has_value()) return absl::CancelledError();
  subscription_ = std::move(subscription);
  return absl::OkStatus();
}

void OutputStream::EndClaims(const v1::StreamOutputsRequest& request) {
  if (request.acks_size() == 0 && request.releases_size() == 0) return;
  auto answers = std::make_shared<Answers>();
  auto acks = ReadItems<ClaimRef>(request.acks(), "acks", answers->results.mutable_ack_results(),
                                  log(), [this](const v1::AckItem& item, const FieldPlace& place) {
                                    return ReadClaim(item, place, &token_);
                                  });
  auto releases = ReadItems<ClaimRef>(request.releases(), "releases",
                                      answers->results.mutable_release_results(), log(),
                                      [this](const v1::ReleaseItem& item, const FieldPlace& place) {
                                        return ReadClaim(item, place, &token_);
                                      });
  answers->awaited = 2;
  {
    MutexLock lock(&mutex_);
    answers_.push_back(answers);
    result_count_ += EntriesOf(answers->results);
  }
  auto self = std::static_pointer_cast<OutputStream>(shared_from_this());
  store_->AckOutputs(
      tenant_, std::move(acks.values),
      [self, answers, results = std::move(acks.results)](std::vector<EndResult> ends) {
        WriteResults(std::move(ends), results, self->log());
        self->Answered(answers.get());
      });
  store_->ReleaseOutputs(
      tenant_, std::move(releases.values),
      [self, answers, results = std::move(releases.results)](std::vector<absl::Status> ends) {
        WriteResults(std::move(ends), results, self->log());
        self->Answered(answers.get());
      });
}

absl::Status OutputStream::ChangeCalls(const v1::StreamOutputsRequest& request) {
  if (request.has_credit()) {
    subscription_->Grant(request.credit().item_count(), request.credit().bytes());
  }
  const std::vector<CallId> removed =
      ReadIds(request.unsubscribe_call_ids(), "unsubscribe_call_ids");
  if (!removed.empty()) subscription_->Remove(removed);
  const std::vector<CallId> added = ReadIds(request.subscribe_call_ids(), "subscribe_call_ids");
  if (added.empty() || subscription_->Add(added)) return absl::OkStatus();
  const uint64_t limit = config_.limits.stream_subscriptions_max;
  // Calls may have ended since.
  const uint64_t wanted = std::max(subscription_->call_count() + added.size(), limit + 1);
  return WithBound(FieldError("subscribe_call_ids", "more than one stream may subscribe to",
                              absl::StrCat("limit is ", limit)),
                   BoundOf(wanted, {.max = limit, .unit = "calls"}));
}

// Malformed ids are reported as ended calls, as in ClaimOutputs.
std::vector<CallId> OutputStream::ReadIds(
    const google::protobuf::RepeatedPtrField<std::string>& texts, absl::string_view list) {
  std::vector<CallId> call_ids;
  call_ids.reserve(texts.size());
  for (int i = 0; i < texts.size(); ++i) {
    const auto call_id = ReadCallId(texts[i], {.list = list, .index = i});
    if (call_id.ok()) {
      call_ids.push_back(*call_id);
      continue;
    }
    MutexLock lock(&mutex_);
    Outgoing* const outgoing = OutgoingFor(0);
    WriteMalformedCall(texts[i], call_id.status(), log(), outgoing->response->add_ended());
    ++outgoing->result_count;
    ++result_count_;
  }
  return call_ids;
}

// ---- Answers

void OutputStream::OnDelivery(Delivery delivery) {
  const bool drains = !delivery.status.ok();
  {
    MutexLock lock(&mutex_);
    if (releasing_) return ReturnAll(delivery.outputs);
    unsettled_count_ += static_cast<int64_t>(delivery.outputs.size());
    for (ClaimedOutput& output : delivery.outputs) {
      const uint64_t bytes = output.payload.has_value() ? output.stored.size_bytes : 0;
      Outgoing* const outgoing = OutgoingFor(bytes);
      ++outgoing->told_count;
      outgoing->told_bytes += bytes;
      if (output.payload.has_value()) {
        outgoing->payloads.push_back(output.stored.slot.generation);
      }
      WriteClaimedOutput(std::move(output), outgoing->response->add_outputs());
    }
    for (const EndedCall& ended : delivery.ended) {
      Outgoing* const outgoing = OutgoingFor(0);
      ++outgoing->told_count;
      WriteEndedCall(ended, log(), outgoing->response->add_ended());
    }
    if (drains) drain_ = delivery.status;
    CloseIfDrained();
  }
  // The store may drain before the server does.
  if (drains) Drain();
  Proceed();
}

void OutputStream::ReturnAll(const std::vector<ClaimedOutput>& outputs) {
  for (const ClaimedOutput& output : outputs) {
    if (output.payload.has_value()) taker()->Return(output.stored.slot.generation);
  }
}

void OutputStream::Answered(Answers* answers) {
  {
    MutexLock lock(&mutex_);
    if (--answers->awaited > 0) return;
    CollectAnswers();
    CloseIfDrained();
  }
  subscription_->Retry();
  Proceed();
}

void OutputStream::CollectAnswers() {
  while (!answers_.empty() && answers_.front()->awaited == 0) {
    v1::StreamOutputsResponse& results = answers_.front()->results;
    for (v1::AckResult& result : *results.mutable_ack_results()) {
      if (IsSettled(result)) --unsettled_count_;
      Outgoing* const outgoing = OutgoingFor(0);
      *outgoing->response->add_ack_results() = std::move(result);
      ++outgoing->result_count;
    }
    for (v1::ReleaseResult& result : *results.mutable_release_results()) {
      if (IsSettled(result)) --unsettled_count_;
      Outgoing* const outgoing = OutgoingFor(0);
      *outgoing->response->add_release_results() = std::move(result);
      ++outgoing->result_count;
    }
    answers_.pop_front();
  }
}

OutputStream::Outgoing* OutputStream::OutgoingFor(uint64_t payload_bytes) {
  const bool has_room =
      !outgoing_.empty() && EntriesOf(*outgoing_.back().response) < kMessageEntriesMax &&
      (payload_bytes == 0 || outgoing_.back().told_bytes + payload_bytes <= kMessageBytesMax);
  if (!has_room) {
    outgoing_.push_back({.response = std::make_unique<v1::StreamOutputsResponse>()});
  }
  return &outgoing_.back();
}

std::unique_ptr<v1::StreamOutputsResponse> OutputStream::NextResponse() {
  if (outgoing_.empty()) return nullptr;
  written_ = std::move(outgoing_.front());
  outgoing_.pop_front();
  return std::move(written_.response);
}

void OutputStream::OnWritten(bool /*is_sent*/) {
  int64_t count = 0;
  uint64_t bytes = 0;
  std::vector<uint64_t> payloads;
  {
    MutexLock lock(&mutex_);
    result_count_ -= std::exchange(written_.result_count, 0);
    count = std::exchange(written_.told_count, 0);
    bytes = std::exchange(written_.told_bytes, 0);
    payloads = std::exchange(written_.payloads, {});
  }
  for (const uint64_t generation : payloads) taker()->Return(generation);
  if (count > 0) subscription_->Sent(static_cast<uint64_t>(count), bytes);
}

bool OutputStream::WantsMessage() { return !closing_.has_value() && result_count_ < kResultsMax; }

// ---- The end

void OutputStream::OnDrain() {
  std::shared_ptr<Subscription> subscription;
  {
    MutexLock lock(&mutex_);
    if (!releasing_) subscription = subscription_;
  }
  if (subscription != nullptr) return subscription->Stop(absl::OkStatus());
  Close(DrainingError());
}

void OutputStream::OnDrainOver() { Close(DrainingError()); }

// The client may still ack the outputs that it holds.
void OutputStream::CloseIfDrained() {
  if (!drain_.ok() && unsettled_count_ <= 0 && !closing_.has_value()) closing_ = drain_;
}

void OutputStream::OnBroken() {
  std::deque<Outgoing> dropped;
  {
    MutexLock lock(&mutex_);
    answers_.clear();
    dropped = std::exchange(outgoing_, {});
  }
  for (const Outgoing& outgoing : dropped) {
    for (const uint64_t generation : outgoing.payloads) taker()->Return(generation);
  }
  Close(absl::CancelledError());
}

void OutputStream::Close(const absl::Status& status) {
  {
    MutexLock lock(&mutex_);
    if (!closing_.has_value()) closing_ = status;
  }
  Proceed();
}

void OutputStream::Proceed() {
  std::shared_ptr<Subscription> ended;
  {
    MutexLock lock(&mutex_);
    if (closing_.has_value() && answers_.empty() && !std::exchange(releasing_, true)) {
      ended = subscription_;
      released_ = ended == nullptr;
    }
    Advance();
  }
  if (ended == nullptr) return;
  auto self = std::static_pointer_cast<OutputStream>(shared_from_this());
  ended->End([self] {
    MutexLock lock(&self->mutex_);
    self->released_ = true;
    self->Advance();
  });
}

std::optional<absl::Status> OutputStream::Outcome() {
  const bool has_said_all = answers_.empty() && outgoing_.empty();
  if (!released_ || (!has_said_all && !broken())) return std::nullopt;
  return closing_;
}

}  // namespace mayfly
