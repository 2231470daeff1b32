// An RpcCall sends one request until it is answered or its time is up.
//
// It repeats what ended UNAVAILABLE or without an answer, unchanged, after a growing pause. It owns
// itself while under way; one thread of gRPC's at a time runs it. Derived classes say what an
// answer means, and may narrow the request to what is left to ask.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include <google/protobuf/arena.h>
#include <grpcpp/alarm.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/async_unary_call.h>

#include "client/cancellation.h"
#include "client/core.h"
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
class RpcCall : public Completion, public std::enable_shared_from_this<RpcCall<Request, Response>> {
 public:
  void Start() {
    const absl::Duration held = Prepare();
    context_.emplace();
    context_->set_deadline(FromNow(AttemptTime(held)));
    response_->Clear();
    // Before the call: it may end on the core's thread before this one has come back from it.
    self_ = this->shared_from_this();
    reader_ = (core_->stub()->*method_)(&*context_, *request_, core_->queue());
    reader_->Finish(response_, &grpc_status_, this);
  }

  // On the core's thread: ends with CANCELLED soon, unless it has ended.
  void Cancel() {
    cancelled_ = true;
    if (alarm_ != nullptr) {
      alarm_->Cancel();
    } else if (self_ != nullptr) {
      context_->TryCancel();
    }
  }

  Then OnCompletion(bool) final {
    const auto self = std::move(self_);
    if (alarm_ == nullptr) return OnAnswer();
    alarm_.reset();
    if (cancelled_) return OnEnd(CancelledByCaller());
    Start();
    return nullptr;
  }

 protected:
  enum class Next { kEnd, kAgain, kAgainLater };

  RpcCall(std::shared_ptr<Core> core, RpcMethod<Request, Response> method, TimeBudget budget)
      : core_(std::move(core)),
        method_(method),
        budget_(budget),
        request_(google::protobuf::Arena::CreateMessage<Request>(&arena_)),
        response_(google::protobuf::Arena::CreateMessage<Response>(&arena_)) {}

  // Before each attempt; returns how long the request asks the server to hold the answer back.
  virtual absl::Duration Prepare() { return absl::ZeroDuration(); }
  virtual Next OnResponse(Response* response) = 0;
  // Once, at the end; OK when the last answer came, even if there was more to ask.
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
    switch (OnResponse(response_)) {
      case Next::kEnd:
        break;
      case Next::kAgain:
        if (cancelled_) return OnEnd(CancelledByCaller());
        attempts_ = 0;
        Start();
        return nullptr;
      case Next::kAgainLater:
        return TryLater(absl::OkStatus());
    }
    return OnEnd(absl::OkStatus());
  }

  Then OnFailure(absl::Status status) {
    if (cancelled_) return OnEnd(CancelledByCaller());
    if (absl::IsDeadlineExceeded(status)) {
      status = absl::DeadlineExceededError(
          absl::StrCat("no answer within ", absl::FormatDuration(budget_.total())));
    } else if (!absl::IsUnavailable(status)) {
      return OnEnd(status);
    }
    return TryLater(status);
  }

  Then TryLater(const absl::Status& status) {
    const RetryPolicy& policy = core_->options().retry;
    const absl::Duration delay = std::max(PauseAfter(attempts_, policy), RetryDelayOf(status));
    if (cancelled_) return OnEnd(CancelledByCaller());
    if (++attempts_ >= policy.attempts_max || delay >= budget_.Left()) return OnEnd(status);
    self_ = this->shared_from_this();
    alarm_ = std::make_unique<grpc::Alarm>();
    alarm_->Set(core_->queue(), FromNow(delay), this);
    return nullptr;
  }

  const std::shared_ptr<Core> core_;
  const RpcMethod<Request, Response> method_;
  const TimeBudget budget_;
  int attempts_ = 0;  // that failed since the last answer that moved things on
  bool cancelled_ = false;
  // A batch of 256 items is some thousand small objects, which are freed at once.
  google::protobuf::Arena arena_{ArenaOfMessages()};
  Request* const request_;
  Response* const response_;
  grpc::Status grpc_status_;
  std::optional<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientAsyncResponseReaderInterface<Response>> reader_;
  std::unique_ptr<grpc::Alarm> alarm_;  // set: the call waits for its next attempt
  std::shared_ptr<RpcCall> self_;       // set: a completion is to come
};

// Has a call cancelled, on the core's thread, that is under way.
template <typename Call>
CancellationHook HookOf(const std::shared_ptr<Core>& core,
                        const std::optional<Cancellation>& cancellation,
                        std::weak_ptr<Call> weak_call) {
  std::weak_ptr<Dispatcher> weak_dispatcher = core->dispatcher();
  return CancellationHook(cancellation, [weak_dispatcher, weak_call] {
    const auto dispatcher = weak_dispatcher.lock();
    if (dispatcher == nullptr) return;
    Dispatcher::Post(dispatcher, [weak_call] {
      if (const auto call = weak_call.lock()) call->Cancel();
    });
  });
}

}  // namespace mayfly::client
