// An RpcCall sends one request until it is answered or its time is up.
//
// An attempt travels on the core's session, or as an RPC of its own: a large one would hold up the
// others of a session, and the server learns that an RPC is cancelled, so that a claim is not kept.
//
// It repeats an attempt that ended UNAVAILABLE or without an answer, unchanged, after a growing
// pause. It owns itself while under way. After Start it runs on the core's thread only. Derived
// classes say what an answer means, and may reduce the request to the items that are left.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include <google/protobuf/arena.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/async_unary_call.h>

#include "client/core.h"
#include "client/limits.h"
#include "client/message_arena.h"
#include "client/operation.h"
#include "client/pause.h"
#include "client/sessions.h"
#include "client/status.h"
#include "client/time_budget.h"
#include "mayfly/error.h"

namespace mayfly::client {

// An RPC, and where its messages are in those of a session.
template <typename Request, typename Response>
struct RpcMethod {
  std::unique_ptr<grpc::ClientAsyncResponseReaderInterface<Response>> (
      v1::FunctionIo::StubInterface::*call)(grpc::ClientContext*, const Request&,
                                            grpc::CompletionQueue*);
  // Null when it does not travel on sessions.
  Request* (v1::NumberedRequest::*session_request)() = nullptr;
  Response* (v1::NumberedResponse::*session_response)() = nullptr;
};

template <typename Request, typename Response>
class RpcCall : public Operation, public Completion, public Session::Call {
 public:
  void Start() {
    const absl::Duration held = Prepare();
    const absl::Duration time = AttemptTime(held);
    // All is set before the attempt begins: it may end on the core's thread before this one has
    // come back from it.
    const size_t bytes = request_->ByteSizeLong();
    if (FitsSession(bytes)) {
      state_ = State::kOnSession;
      attempt_end_ = Elapsed() + time;
      core_->sessions()->Send(
          *core_, {.call = std::shared_ptr<Session::Call>(this->shared_from_this(), this),
                   .request = numbered_,
                   .request_bytes = bytes});
      return;
    }
    state_ = State::kOnRpc;
    context_.emplace();
    context_->set_deadline(FromNow(time));
    if (response_ == nullptr) {
      response_ = google::protobuf::Arena::CreateMessage<Response>(&arena_);
    }
    response_->Clear();
    self_ = this->shared_from_this();
    stub_ = core_->connections()->NextStub();
    reader_ = (stub_.get()->*method_.call)(&*context_, *request_, core_->queue());
    reader_->Finish(response_, &grpc_status_, static_cast<Completion*>(this));
  }

  Then OnCompletion(bool) final {
    state_ = State::kIdle;
    const auto self = std::move(self_);
    return grpc_status_.ok() ? OnSuccess(response_) : OnFailure(StatusFromGrpc(grpc_status_));
  }

  // The attempt's deadline is set together with its number: neither end of it is missed.
  void OnTaken(std::shared_ptr<Session> session, uint64_t number) final {
    stub_ = session->stub();
    session_ = std::move(session);
    number_ = number;
    SetDeadline(attempt_end_);
  }

  Then OnAnswered(v1::NumberedResponse* response) final {
    LeaveSession();
    if (response->status().code() != 0) return OnFailure(StatusFromProto(response->status()));
    return OnSuccess((response->*method_.session_response)());
  }

  Then OnSessionEnd(const absl::Status& status) final {
    LeaveSession();
    return OnFailure(status);
  }

  // On the core's thread: the call ends with CANCELLED soon.
  void OnCancel() override {
    cancelled_ = true;
    if (state_ == State::kOnRpc) return context_->TryCancel();
    if (state_ == State::kIdle) return;
    const std::shared_ptr<void> self = StopWaiting();
    if (self == nullptr) return;
    // Posted: the caller of this may hold the core.
    if (Then then = EndWith(CancelledByCaller())) Post(std::move(then));
  }

 protected:
  enum class Next { kEnd, kAgain, kAgainLater };

  RpcCall(std::shared_ptr<Core> core, RpcMethod<Request, Response> method, TimeBudget budget)
      : Operation(*core),
        core_(std::move(core)),
        method_(method),
        budget_(budget),
        numbered_(google::protobuf::Arena::CreateMessage<v1::NumberedRequest>(&arena_)),
        request_(method_.session_request == nullptr
                     ? google::protobuf::Arena::CreateMessage<Request>(&arena_)
                     : (numbered_->*method_.session_request)()) {}

  // Called before each attempt. Returns how long the request asks the server to wait before it
  // answers.
  virtual absl::Duration Prepare() { return absl::ZeroDuration(); }
  virtual Next OnResponse(Response* response) = 0;
  // Called once, at the end. OK when the last answer came, even if there was more to ask for.
  virtual Then OnEnd(const absl::Status& status) = 0;

  const std::shared_ptr<Core>& core() const { return core_; }
  const TimeBudget& budget() const { return budget_; }
  Request* request() { return request_; }

 private:
  enum class State { kIdle, kOnSession, kOnRpc, kPausing };

  bool FitsSession(size_t request_bytes) const {
    if (method_.session_request == nullptr || request_bytes > kSessionRequestBytesMax) return false;
    if constexpr (requires { request_->max_bytes(); }) {
      return request_->max_bytes() <= kSessionResponseDataBytesMax;
    }
    return true;
  }

  // Half of what is left, so that a lost answer leaves time for another attempt.
  absl::Duration AttemptTime(absl::Duration held) const {
    constexpr absl::Duration kNotWorthHalving = absl::Seconds(1);
    const absl::Duration left = budget_.Left();
    const absl::Duration spare = std::max(absl::ZeroDuration(), left - held);
    return spare < kNotWorthHalving ? left : held + spare / 2;
  }

  void LeaveSession() {
    state_ = State::kIdle;
    session_ = nullptr;
    ClearDeadline();
  }

  // Ends a pause, or an attempt on a session. Returns what keeps this alive; null when the attempt
  // is answered already.
  std::shared_ptr<void> StopWaiting() {
    std::shared_ptr<void> self;
    if (state_ == State::kPausing) {
      self = std::move(self_);
    } else {
      self = session_->Withdraw(number_);
      if (self == nullptr) return nullptr;
    }
    LeaveSession();
    return self;
  }

  Then OnSuccess(Response* response) {
    core_->connections()->OnAnswer();
    switch (OnResponse(response)) {
      case Next::kEnd:
        break;
      case Next::kAgain:
        if (cancelled_) return EndWith(CancelledByCaller());
        attempts_ = 0;
        Start();
        return nullptr;
      case Next::kAgainLater:
        return TryLater(absl::OkStatus());
    }
    return EndWith(absl::OkStatus());
  }

  Then OnFailure(absl::Status status) {
    if (cancelled_) return EndWith(CancelledByCaller());
    status = core_->connections()->Explain(status, stub_);
    if (absl::IsDeadlineExceeded(status)) {
      status = NoAnswerWithin(budget_.total());
    } else if (!absl::IsUnavailable(status)) {
      return EndWith(status);
    }
    return TryLater(status);
  }

  Then TryLater(const absl::Status& status) {
    const RetryPolicy& policy = core_->options().retry;
    const absl::Duration delay = std::max(PauseAfter(attempts_, policy), RetryDelayOf(status));
    if (cancelled_) return EndWith(CancelledByCaller());
    if (++attempts_ >= policy.attempts_max || delay >= budget_.Left()) return EndWith(status);
    self_ = this->shared_from_this();
    state_ = State::kPausing;
    SetDeadline(Elapsed() + delay);
    return nullptr;
  }

  // The pause is over, or the attempt on a session.
  void OnDeadline() final {
    const State state = state_;
    if (state != State::kPausing && state != State::kOnSession) return;
    const std::shared_ptr<void> self = StopWaiting();
    if (self == nullptr) return;
    if (state == State::kPausing) return Start();
    if (Then then = OnFailure(absl::DeadlineExceededError(""))) Post(std::move(then));
  }

  Then EndWith(const absl::Status& status) {
    Finish();
    return OnEnd(status);
  }

  const std::shared_ptr<Core> core_;
  const RpcMethod<Request, Response> method_;
  const TimeBudget budget_;
  State state_ = State::kIdle;
  // Set during an RPC and a pause. A session holds its calls.
  std::shared_ptr<Operation> self_;
  bool cancelled_ = false;
  int attempts_ = 0;  // that failed since the last answer that moved things on
  google::protobuf::Arena arena_{ArenaOfMessages()};
  v1::NumberedRequest* const numbered_;
  Request* const request_;                   // in numbered_, if it may travel on sessions
  std::shared_ptr<Connections::Stub> stub_;  // of the attempt under way
  // Of an attempt on a session.
  std::shared_ptr<Session> session_;
  uint64_t number_ = 0;
  absl::Duration attempt_end_;
  // Of an attempt by an RPC.
  Response* response_ = nullptr;
  grpc::Status grpc_status_;
  std::optional<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientAsyncResponseReaderInterface<Response>> reader_;
};

}  // namespace mayfly::client
