// An RpcCall sends one request until it is answered or its time is up.
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
#include "client/operation.h"
#include "client/pause.h"
#include "client/status.h"
#include "client/time_budget.h"
#include "mayfly/error.h"

namespace mayfly::client {

inline google::protobuf::ArenaOptions ArenaOfMessages() {
  google::protobuf::ArenaOptions options;
  options.start_block_size = 4 << 10;
  options.max_block_size = 64 << 10;
  return options;
}

template <typename Request, typename Response>
using RpcMethod = std::unique_ptr<grpc::ClientAsyncResponseReaderInterface<Response>> (
    v1::FunctionIo::StubInterface::*)(grpc::ClientContext*, const Request&, grpc::CompletionQueue*);

template <typename Request, typename Response>
class RpcCall : public Operation, public Completion {
 public:
  void Start() {
    const absl::Duration held = Prepare();
    context_.emplace();
    context_->set_deadline(FromNow(AttemptTime(held)));
    response_->Clear();
    // Before the call: it may end on the core's thread before this one has come back from it.
    self_ = this->shared_from_this();
    stub_ = core_->connections()->NextStub();
    reader_ = (stub_.get()->*method_)(&*context_, *request_, core_->queue());
    reader_->Finish(response_, &grpc_status_, static_cast<Completion*>(this));
  }

  Then OnCompletion(bool) final {
    const auto self = std::move(self_);
    return OnAnswer();
  }

  // On the core's thread: the call ends with CANCELLED soon.
  void OnCancel() override {
    cancelled_ = true;
    if (!pausing_) {
      if (self_ != nullptr) context_->TryCancel();
      return;
    }
    pausing_ = false;
    ClearDeadline();
    const auto self = std::move(self_);
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
        request_(google::protobuf::Arena::CreateMessage<Request>(&arena_)),
        response_(google::protobuf::Arena::CreateMessage<Response>(&arena_)) {}

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
  // Half of what is left, so that a lost answer leaves time for another attempt.
  absl::Duration AttemptTime(absl::Duration held) const {
    constexpr absl::Duration kNotWorthHalving = absl::Seconds(1);
    const absl::Duration left = budget_.Left();
    const absl::Duration spare = std::max(absl::ZeroDuration(), left - held);
    return spare < kNotWorthHalving ? left : held + spare / 2;
  }

  Then OnAnswer() {
    if (!grpc_status_.ok()) return OnFailure(StatusFromGrpc(grpc_status_));
    core_->connections()->OnAnswer();
    switch (OnResponse(response_)) {
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
    pausing_ = true;
    SetDeadline(Elapsed() + delay);
    return nullptr;
  }

  // The pause is over.
  void OnDeadline() final {
    if (!std::exchange(pausing_, false)) return;
    const auto self = std::move(self_);
    Start();
  }

  Then EndWith(const absl::Status& status) {
    Finish();
    return OnEnd(status);
  }

  const std::shared_ptr<Core> core_;
  const RpcMethod<Request, Response> method_;
  const TimeBudget budget_;
  // An operation of gRPC is under way, or the next attempt waits for its deadline: never both.
  std::shared_ptr<Operation> self_;
  bool pausing_ = false;
  bool cancelled_ = false;
  int attempts_ = 0;  // that failed since the last answer that moved things on
  // A batch of 256 items is some thousand small objects, which are freed at once.
  google::protobuf::Arena arena_{ArenaOfMessages()};
  Request* const request_;
  Response* const response_;
  grpc::Status grpc_status_;
  std::optional<grpc::ClientContext> context_;
  std::shared_ptr<Connections::Stub> stub_;  // of the attempt under way
  std::unique_ptr<grpc::ClientAsyncResponseReaderInterface<Response>> reader_;
};

}  // namespace mayfly::client
