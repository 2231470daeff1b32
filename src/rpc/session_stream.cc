#include "rpc/session_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "rpc/range_check.h"
#include "rpc/status.h"

namespace mayfly {
namespace {

// The delay before a message is handled again because the shards were behind.
constexpr absl::Duration kBehindDelay = absl::Milliseconds(5);

absl::Status NoRequestError() {
  return FieldError("request", "missing", "expected one, of a kind that this server knows");
}

template <typename Request>
bool MayWait(const Request&) {
  return false;
}
bool MayWait(const v1::ClaimOutputsRequest& request) {
  return request.wait().seconds() > 0 || request.wait().nanos() > 0;
}

google::rpc::Status WireStatusOf(const absl::Status& status, Log* log) {
  if (!absl::IsCancelled(status)) return ToWireStatus(status, log);
  google::rpc::Status cancelled;
  cancelled.set_code(static_cast<int>(status.code()));
  return cancelled;
}

}  // namespace

grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* SessionStream::Begin(
    grpc::CallbackServerContext* context, const Config& config, const Requests& requests,
    Admission* admission, const StreamSurroundings& surroundings) {
  return std::make_shared<SessionStream>(context, config, requests, admission, surroundings)
      ->Start();
}

SessionStream::SessionStream(grpc::CallbackServerContext* context, const Config& config,
                             const Requests& requests, Admission* admission,
                             const StreamSurroundings& surroundings)
    : BidiStream(Rpc::kSession, context, surroundings),
      config_(config),
      requests_(requests),
      admission_(admission),
      call_(context->c_call()) {
  auto admitted = admission->AdmitCall(*context->auth_context(), Rpc::kSession);
  if (!admitted.ok()) {
    closing_ = admitted.status();
    return;
  }
  admitted_ = *std::move(admitted);
  admission->ProveConnection(*context, *admitted_.tenant);
  OpenFor(admitted_);
}

// ---- Requests

absl::Duration SessionStream::OnMessage(const v1::SessionRequest& message) {
  const absl::Status status = CheckLengths(message);
  if (!status.ok()) {
    Close(status);
    CancelWaiting();
    return absl::ZeroDuration();
  }
  const absl::Duration delay = DelayOf(message);
  if (delay > absl::ZeroDuration()) return delay;
  {
    MutexLock lock(&mutex_);
    if (closing_.has_value()) return absl::ZeroDuration();
    is_collecting_ = true;
  }
  admitted_.store->Together([&] {
    for (const v1::NumberedRequest& request : message.requests()) Handle(request);
    for (const v1::SubscriptionRequest& request : message.subscriptions()) Handle(request);
  });
  MutexLock lock(&mutex_);
  is_collecting_ = false;
  return absl::ZeroDuration();
}

absl::Status SessionStream::CheckLengths(const v1::SessionRequest& message) {
  const uint64_t requests_min = message.subscriptions().empty() ? 1 : 0;
  RETURN_IF_ERROR(CheckLength("requests", message.requests_size(),
                              {.min = requests_min, .max = kRequestsMax, .unit = "requests"}));
  return CheckLength("subscriptions", message.subscriptions_size(),
                     {.max = kSubscriptionRequestsMax, .unit = "messages"});
}

absl::Duration SessionStream::DelayOf(const v1::SessionRequest& message) {
  int64_t count = 0;
  for (const v1::SubscriptionRequest& request : message.subscriptions()) {
    const auto subscription = FindSubscription(request.number());
    if (subscription != nullptr && subscription->IsBehind()) return kBehindDelay;
    count += request.subscribe_call_ids_size() + request.unsubscribe_call_ids_size();
  }
  if (count == 0) return absl::ZeroDuration();
  const absl::Status rate = admission_->TakeRate(admitted_.tenant, count);
  // The client is slowed down instead of refused: it would only have to subscribe all over.
  if (!rate.ok()) return RetryDelayOf(rate);
  MutexLock lock(&mutex_);
  CountItems(count);
  return absl::ZeroDuration();
}

void SessionStream::Handle(const v1::NumberedRequest& request) {
  using Response = v1::NumberedResponse;
  const uint64_t number = request.number();
  switch (request.request_case()) {
    case v1::NumberedRequest::kPutInputs:
      return Ask(Rpc::kPutInputs, number, request.put_inputs(), &Response::mutable_put_inputs,
                 &Requests::PutInputs);
    case v1::NumberedRequest::kGetInputs:
      return Ask(Rpc::kGetInputs, number, request.get_inputs(), &Response::mutable_get_inputs,
                 &Requests::GetInputs);
    case v1::NumberedRequest::kPutOutputs:
      return Ask(Rpc::kPutOutputs, number, request.put_outputs(), &Response::mutable_put_outputs,
                 &Requests::PutOutputs);
    case v1::NumberedRequest::kClaimOutputs:
      return Ask(Rpc::kClaimOutputs, number, request.claim_outputs(),
                 &Response::mutable_claim_outputs, &Requests::ClaimOutputs);
    case v1::NumberedRequest::kAckOutputs:
      return Ask(Rpc::kAckOutputs, number, request.ack_outputs(), &Response::mutable_ack_outputs,
                 &Requests::AckOutputs);
    case v1::NumberedRequest::kReleaseOutputs:
      return Ask(Rpc::kReleaseOutputs, number, request.release_outputs(),
                 &Response::mutable_release_outputs, &Requests::ReleaseOutputs);
    case v1::NumberedRequest::kRenewClaims:
      return Ask(Rpc::kRenewClaims, number, request.renew_claims(), &Response::mutable_renew_claims,
                 &Requests::RenewClaims);
    case v1::NumberedRequest::kDescribeCalls:
      return Ask(Rpc::kDescribeCalls, number, request.describe_calls(),
                 &Response::mutable_describe_calls, &Requests::DescribeCalls);
    case v1::NumberedRequest::kDeleteCalls:
      return Ask(Rpc::kDeleteCalls, number, request.delete_calls(), &Response::mutable_delete_calls,
                 &Requests::DeleteCalls);
    case v1::NumberedRequest::REQUEST_NOT_SET:
      break;
  }
  const auto answer = NewAnswer(Rpc::kSession, number);
  bool waits = false;
  if (Count(answer, /*request_bytes=*/0, &waits)) Answered(answer, NoRequestError());
}

void SessionStream::Handle(const v1::SubscriptionRequest& request) {
  std::shared_ptr<SessionSubscription> subscription = FindSubscription(request.number());
  if (subscription != nullptr) return subscription->Handle(request);
  subscription = AddSubscription(request.number());
  if (subscription == nullptr) return;
  const absl::Status status =
      admission_->AdmitRequest(admitted_, Rpc::kSubscribe, {.field = "subscriptions", .count = 1});
  if (!status.ok()) return subscription->End(status);
  subscription->Handle(request);
}

template <typename Request, typename Response>
void SessionStream::Ask(Rpc rpc, uint64_t number, const Request& request,
                        Response* (v1::NumberedResponse::*response_of)(),
                        Requests::Method<Request, Response> method) {
  const auto answer = NewAnswer(rpc, number);
  const ItemCount items = CountOf(request);
  answer->item_count = items.count;
  answer->ends_claims = rpc == Rpc::kAckOutputs || rpc == Rpc::kReleaseOutputs;
  bool waits = MayWait(request);
  if (!Count(answer, request.ByteSizeLong(), &waits)) return;
  const absl::Status status = admission_->AdmitRequest(admitted_, rpc, items);
  if (!status.ok()) return Answered(answer, status);
  Requests::Caller caller = {.store = admitted_.store, .tenant = admitted_.tenant};
  if (ReturnsPayloads(rpc)) {
    OpenCall& open_call =
        answer->open_call.emplace(surroundings().open_calls, OpenCall::Kind::kReply);
    open_call.Open(call_, admitted_.chain, admitted_.tenant);
    caller.taker = &open_call;
  }
  caller.may_wait = waits;
  KeepClaim(answer, (requests_.*method)(caller, request, (answer->response.*response_of)(),
                                        [answer](const absl::Status& outcome) {
                                          answer->session->Answered(answer, outcome);
                                        }));
}

std::shared_ptr<SessionStream::Answer> SessionStream::NewAnswer(Rpc rpc, uint64_t number) {
  auto self = std::static_pointer_cast<SessionStream>(shared_from_this());
  auto answer = std::make_shared<Answer>(std::move(self), rpc);
  answer->record.set_tenant(admitted_.tenant->name);
  answer->response.set_number(number);
  return answer;
}

bool SessionStream::Count(const std::shared_ptr<Answer>& answer, uint64_t request_bytes,
                          bool* waits) {
  MutexLock lock(&mutex_);
  if (broken()) return false;
  CountItems(answer->item_count);
  *waits = *waits && claims_.size() < kWaitingClaimsMax;
  if (*waits) {
    claims_.insert(answer);
  } else {
    ++unanswered_count_;
    ++undecided_count_;
    CountUnanswered(answer.get(), request_bytes);
  }
  return true;
}

void SessionStream::CountUnanswered(Answer* answer, uint64_t bytes) {
  answer->counted_bytes += bytes;
  unanswered_bytes_ += bytes;
}

void SessionStream::Uncount(const Answer& answer) {
  --unanswered_count_;
  unanswered_bytes_ -= answer.counted_bytes;
}

// The claim may have been answered before the store has returned its handle, and the client be
// gone.
void SessionStream::KeepClaim(const std::shared_ptr<Answer>& answer,
                              std::shared_ptr<ClaimHandle> claim) {
  if (claim == nullptr) return;
  bool is_cancelled = false;
  bool is_released = false;
  {
    MutexLock lock(&mutex_);
    is_cancelled = broken() && claims_.contains(answer);
    is_released = answer->is_dropped;
    if (!answer->is_written && !is_released) answer->claim = claim;
  }
  if (is_cancelled) claim->Cancel();
  if (is_released) claim->ReleaseAnswer();
}

bool SessionStream::WantsMessage() {
  return !closing_.has_value() && unanswered_count_ < kUnansweredMax &&
         unanswered_bytes_ < kUnansweredBytesMax && subscriptions_.size() <= kSubscriptionsMax &&
         std::none_of(subscriptions_.begin(), subscriptions_.end(),
                      [](const auto& entry) { return entry.second->HasTooMuchToTell(); });
}

// ---- Answers

void SessionStream::Answered(const std::shared_ptr<Answer>& answer, const absl::Status& status) {
  if (!status.ok()) {
    answer->response.clear_response();
    *answer->response.mutable_status() = WireStatusOf(status, log());
  }
  answer->record.Write(grpc::Status(static_cast<grpc::StatusCode>(status.code()), ""),
                       answer->item_count);
  answer->bytes = answer->response.ByteSizeLong();
  ClaimHandles released;
  {
    MutexLock lock(&mutex_);
    if (claims_.erase(answer) > 0) {
      ++unanswered_count_;
    } else {
      --undecided_count_;
    }
    CountUnanswered(answer.get(), answer->bytes);
    if (broken()) {
      Discard(answer.get(), &released);
    } else {
      answered_.push_back(answer);
    }
    Advance();
  }
  Release(released);
  if (answer->ends_claims) {
    for (const auto& subscription : Subscriptions()) subscription->Retry();
  }
  EndSubscriptionsIfDue();
}

std::unique_ptr<v1::SessionResponse> SessionStream::NextResponse() {
  if (is_collecting_) return nullptr;
  auto message = std::make_unique<v1::SessionResponse>();
  WriteAnswers(message.get());
  WriteParts(message.get());
  const bool is_empty = message->responses().empty() && message->subscriptions().empty();
  return is_empty ? nullptr : std::move(message);
}

void SessionStream::WriteAnswers(v1::SessionResponse* message) {
  uint64_t bytes = 0;
  while (!answered_.empty() && written_.size() < kMessageAnswersMax) {
    std::shared_ptr<Answer>& answer = answered_.front();
    bytes += answer->bytes;
    if (!written_.empty() && bytes > kMessageBytesMax) break;
    if (answer->open_call.has_value() && !answer->open_call->BeginWrite()) {
      // Nothing of it is sent: as if the client had not received it.
      answer->open_call->Close();
      answer->is_dropped = true;
      answer->response.clear_response();
      answer->response.mutable_status()->set_code(static_cast<int>(absl::StatusCode::kUnavailable));
      answer->response.mutable_status()->set_message(OpenCalls::kEndedText);
    }
    *message->add_responses() = std::move(answer->response);
    written_.push_back(std::move(answer));
    answered_.pop_front();
  }
  written_bytes_ = bytes;
}

// One part of each subscription in turn, from where the last message has ended.
void SessionStream::WriteParts(v1::SessionResponse* message) {
  if (subscriptions_.empty()) return;
  uint64_t bytes = written_bytes_;
  size_t idle_count = 0;  // subscriptions in a row without a part
  auto next = subscriptions_.upper_bound(last_written_subscription_);
  while (idle_count < subscriptions_.size()) {
    if (next == subscriptions_.end()) next = subscriptions_.begin();
    const auto& [number, subscription] = *next++;
    const uint64_t part_bytes = subscription->next_bytes();
    if (part_bytes == 0) {
      ++idle_count;
      continue;
    }
    if (!message->subscriptions().empty() && bytes + part_bytes > kMessageBytesMax) return;
    idle_count = 0;
    bytes += part_bytes;
    subscription->TakePart(message->add_subscriptions());
    last_written_subscription_ = number;
    written_subscriptions_.push_back(subscription);
  }
}

void SessionStream::OnWritten(bool is_sent) {
  Answers written;
  ClaimHandles released;
  SubscriptionList subscriptions;
  {
    MutexLock lock(&mutex_);
    subscriptions = std::exchange(written_subscriptions_, {});
    written = std::exchange(written_, {});
    for (const std::shared_ptr<Answer>& answer : written) {
      if (!is_sent || answer->is_dropped) {
        Discard(answer.get(), &released);
        continue;
      }
      Uncount(*answer);
      if (answer->open_call.has_value()) answer->open_call->Close();
      answer->is_written = true;
      answer->claim = nullptr;
    }
  }
  Release(released);
  for (const auto& subscription : subscriptions) subscription->OnWritten();
  // The message was the last of some of them.
  MutexLock lock(&mutex_);
  for (auto it = subscriptions_.begin(); it != subscriptions_.end();) {
    it = it->second->is_over() ? subscriptions_.erase(it) : std::next(it);
  }
}

void SessionStream::Discard(Answer* answer, ClaimHandles* released) {
  answer->is_dropped = true;
  Uncount(*answer);
  if (answer->open_call.has_value()) answer->open_call->Close();
  if (answer->claim != nullptr) released->push_back(std::exchange(answer->claim, nullptr));
}

void SessionStream::Release(const ClaimHandles& claims) {
  for (const std::shared_ptr<ClaimHandle>& claim : claims) claim->ReleaseAnswer();
}

// ---- The end

void SessionStream::OnBroken() {
  std::deque<std::shared_ptr<Answer>> answered;
  ClaimHandles released;
  {
    MutexLock lock(&mutex_);
    answered = std::exchange(answered_, {});
    for (const std::shared_ptr<Answer>& answer : answered) Discard(answer.get(), &released);
  }
  CancelWaiting();
  Release(released);
  for (const auto& subscription : Subscriptions()) subscription->Abandon();
  Close(absl::CancelledError());
}

void SessionStream::OnDrain() {
  for (const auto& subscription : Subscriptions()) subscription->Drain();
}

void SessionStream::CancelWaiting() {
  ClaimHandles waiting;
  {
    MutexLock lock(&mutex_);
    for (const std::shared_ptr<Answer>& answer : claims_) {
      if (answer->claim != nullptr) waiting.push_back(answer->claim);
    }
  }
  for (const std::shared_ptr<ClaimHandle>& claim : waiting) claim->Cancel();
}

void SessionStream::Close(const absl::Status& status) {
  {
    MutexLock lock(&mutex_);
    if (!closing_.has_value()) closing_ = status;
    Advance();
  }
  EndSubscriptionsIfDue();
}

std::optional<absl::Status> SessionStream::Outcome() {
  const bool has_answered_all = unanswered_count_ == 0 && claims_.empty() && answered_.empty();
  if (!has_answered_all || !subscriptions_.empty()) return std::nullopt;
  return closing_;
}

// ---- Subscriptions

std::shared_ptr<SessionSubscription> SessionStream::FindSubscription(uint64_t number) {
  MutexLock lock(&mutex_);
  const auto found = subscriptions_.find(number);
  return found == subscriptions_.end() ? nullptr : found->second;
}

std::shared_ptr<SessionSubscription> SessionStream::AddSubscription(uint64_t number) {
  auto self = std::static_pointer_cast<SessionStream>(shared_from_this());
  const auto subscription = std::make_shared<SessionSubscription>(
      number,
      SessionSubscription::Surroundings{.config = &config_,
                                        .store = admitted_.store,
                                        .tenant = admitted_.tenant,
                                        .taker = taker(),
                                        .log = log()},
      [self = std::move(self), number] { self->OnSubscriptionChange(number); });
  bool is_one_too_many = false;
  {
    MutexLock lock(&mutex_);
    if (broken() || ends_subscriptions_) return nullptr;
    is_one_too_many = subscriptions_.size() >= kSubscriptionsMax;
    subscriptions_.emplace(number, subscription);
  }
  if (!is_one_too_many) return subscription;
  subscription->End(LimitError(Reason::kFieldInvalid, "open subscriptions count",
                               kSubscriptionsMax + 1, kSubscriptionsMax, "subscriptions"));
  return nullptr;
}

SessionStream::SubscriptionList SessionStream::Subscriptions() {
  SubscriptionList list;
  MutexLock lock(&mutex_);
  for (const auto& [number, subscription] : subscriptions_) list.push_back(subscription);
  return list;
}

void SessionStream::OnSubscriptionChange(uint64_t number) {
  std::shared_ptr<SessionSubscription> over;  // not destroyed under the lock
  MutexLock lock(&mutex_);
  const auto found = subscriptions_.find(number);
  if (found != subscriptions_.end() && found->second->is_over()) {
    over = std::move(found->second);
    subscriptions_.erase(found);
  }
  Advance();
}

// Acks that are not decided yet come before the end of their claims.
void SessionStream::EndSubscriptionsIfDue() {
  {
    MutexLock lock(&mutex_);
    if (!closing_.has_value() || undecided_count_ > 0) return;
    if (std::exchange(ends_subscriptions_, true)) return;
  }
  for (const auto& subscription : Subscriptions()) subscription->EndWithSession();
}

}  // namespace mayfly
