// A BidiStream is one bidirectional RPC: what all of them have in common, which is to get along with
// gRPC's callbacks. What a stream is about is in the classes that derive from it.
//
// gRPC calls back from any of its threads, the store from its own, and an alarm from a third kind, in
// any order: a cancellation may come within anything else, and an answer of the store when the RPC
// has long been over. So
//   * the stream belongs to all who may still call it, and only the reactor in it to gRPC, which
//     deletes it in OnDone;
//   * whatever is asked of gRPC (read, write, finish) is asked in Advance, under the stream's mutex,
//     as long as the reactor is there, and it is let go of with Finish;
//   * there is at most one read and one write at a time, and Finish comes last: not while a write is
//     under way or a message is being looked at.
// gRPC never calls back from within these requests (none of them is inlineable, see
// server_callback_handlers.h), so the mutex may be held.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "base/clock.h"
#include "base/mutex.h"
#include "rpc/admission.h"
#include "rpc/call_record.h"
#include "rpc/in_flight.h"
#include "rpc/log.h"
#include "rpc/open_calls.h"
#include "rpc/open_streams.h"
#include "rpc/status.h"

namespace mayfly {

// All outlive the streams.
struct StreamSurroundings {
  OpenStreams* open_streams = nullptr;
  OpenCalls* open_calls = nullptr;
  InFlight* in_flight = nullptr;
  Log* log = nullptr;
  Clock* clock = nullptr;
};

template <typename Request, typename Response>
class BidiStream : public OpenStream,
                   public std::enable_shared_from_this<BidiStream<Request, Response>> {
 public:
  // After a drain has begun, the client gets this long to bring its own to an end.
  static constexpr absl::Duration kDrainGrace = absl::Seconds(1);

  BidiStream(Rpc rpc, grpc::CallbackServerContext* context, const StreamSurroundings& surroundings)
      : rpc_(rpc),
        context_(context),
        surroundings_(surroundings),
        open_call_(surroundings.open_calls, OpenCall::Kind::kStream) {}

  // What gRPC is given, once.
  grpc::ServerBidiReactor<Request, Response>* Start() EXCLUDES_LOCK(mutex_) {
    auto* const reactor = new Reactor(this->shared_from_this(), rpc_, surroundings_);
    reactor->record.set_tenant(tenant_name_);
    {
      MutexLock lock(&mutex_);
      reactor_ = reactor;
      Advance();
    }
    // It cannot be over before gRPC has been given it.
    surroundings_.open_streams->Add(this->shared_from_this());
    return reactor;
  }

  void Drain() final EXCLUDES_LOCK(mutex_) {
    {
      MutexLock lock(&mutex_);
      if (reactor_ == nullptr || draining_) return;
      draining_ = true;
      SetAlarm(kDrainGrace, &BidiStream::EndDrain, &drain_alarm_);
    }
    OnDrain();
  }

 protected:
  // The following are not called with the mutex held.

  // A message has come; the next is not read before this returns. A delay: call again then, with the
  // same message.
  virtual absl::Duration OnMessage(const Request& request) EXCLUDES_LOCK(mutex_) = 0;
  // The client has said all it will.
  virtual void OnHalfClose() EXCLUDES_LOCK(mutex_) = 0;
  // A message has left, or is lost with the connection.
  virtual void OnWritten() EXCLUDES_LOCK(mutex_) = 0;
  // Nothing reaches the client any more. Once.
  virtual void OnBroken() EXCLUDES_LOCK(mutex_) = 0;
  virtual void OnDrain() EXCLUDES_LOCK(mutex_) = 0;
  // The grace is over.
  virtual void OnDrainOver() EXCLUDES_LOCK(mutex_) = 0;

  // Those below are.

  // Whether another message may be read: not as long as the client has too much to take first.
  virtual bool WantsMessage() REQUIRES_LOCK(mutex_) = 0;
  // Null when there is nothing to send.
  virtual std::unique_ptr<Response> NextResponse() REQUIRES_LOCK(mutex_) = 0;
  // With what the stream ends, when nothing keeps it any more.
  virtual std::optional<absl::Status> Outcome() REQUIRES_LOCK(mutex_) = 0;

  // Asks gRPC for what can be done now: to be called after any change to the above.
  void Advance() REQUIRES_LOCK(mutex_) {
    if (reactor_ == nullptr) return;
    if (!writing_ && !broken_) {
      response_ = NextResponse();
      writing_ = response_ != nullptr;
      if (writing_) {
        open_call_.BeginWrite();
        reactor_->StartWrite(response_.get());
      }
    }
    if (!reading_ && !half_closed_ && !broken_ && WantsMessage()) {
      reading_ = true;
      reactor_->StartRead(&request_);
    }
    if (writing_ || handling_) return;
    const std::optional<absl::Status> outcome = Outcome();
    if (!outcome.has_value()) return;
    const grpc::Status status =
        broken_ ? grpc::Status::CANCELLED : ToGrpcStatus(*outcome, surroundings_.log);
    reactor_->record.Write(status, item_count_);
    std::exchange(reactor_, nullptr)->Finish(status);
    drain_alarm_ = nullptr;
  }

  // Who it is for; before Start.
  void OpenFor(const Admitted& admitted) {
    tenant_name_ = admitted.tenant->name;
    open_call_.Open(context_->c_call(), admitted.chain, admitted.tenant);
  }
  PayloadTaker* taker() { return &open_call_; }
  void CountItems(int64_t count) REQUIRES_LOCK(mutex_) { item_count_ += count; }
  bool broken() const REQUIRES_LOCK(mutex_) { return broken_; }
  Log* log() const { return surroundings_.log; }
  Clock* clock() const { return surroundings_.clock; }

  Mutex mutex_;

 private:
  // What gRPC knows of the stream.
  class Reactor final : public grpc::ServerBidiReactor<Request, Response> {
   public:
    Reactor(std::shared_ptr<BidiStream> stream, Rpc rpc, const StreamSurroundings& surroundings)
        : record(rpc, surroundings.in_flight, surroundings.log, surroundings.clock),
          stream_(std::move(stream)) {}

    void OnReadDone(bool ok) override { stream_->ReadDone(ok); }
    void OnWriteDone(bool ok) override { stream_->WriteDone(ok); }
    void OnCancel() override { stream_->Break(); }
    void OnDone() override {
      stream_->open_call_.Close();
      stream_->surroundings_.open_streams->Remove(stream_.get());
      delete this;
    }

    CallRecord record;

   private:
    const std::shared_ptr<BidiStream> stream_;
  };

  // Calls it after the delay, or earlier, when `alarm` is let go of. An alarm is not set twice, and
  // must not own who owns it.
  void SetAlarm(absl::Duration delay, void (BidiStream::*on_alarm)(),
                std::unique_ptr<grpc::Alarm>* alarm) REQUIRES_LOCK(mutex_) {
    *alarm = std::make_unique<grpc::Alarm>();
    (*alarm)->Set(std::chrono::system_clock::now() + absl::ToChronoMicroseconds(delay),
                  [weak = this->weak_from_this(), on_alarm](bool) {
                    const auto self = weak.lock();
                    if (self != nullptr) ((*self).*on_alarm)();
                  });
  }

  void ReadDone(bool ok) EXCLUDES_LOCK(mutex_) {
    if (ok) return Handle();
    {
      MutexLock lock(&mutex_);
      half_closed_ = true;
      reading_ = false;
    }
    OnHalfClose();
  }

  void Handle() EXCLUDES_LOCK(mutex_) {
    {
      MutexLock lock(&mutex_);
      if (broken_ || reactor_ == nullptr) {
        reading_ = false;
        return Advance();
      }
      handling_ = true;
    }
    const absl::Duration delay = OnMessage(request_);
    MutexLock lock(&mutex_);
    handling_ = false;
    if (delay > absl::ZeroDuration() && !broken_) {
      return SetAlarm(delay, &BidiStream::Handle, &message_alarm_);
    }
    // A message keeps the memory of its largest predecessor, and a stream may be idle for hours.
    request_ = Request();
    reading_ = false;
    Advance();
  }

  void WriteDone(bool ok) EXCLUDES_LOCK(mutex_) {
    open_call_.EndWrite();
    OnWritten();
    {
      MutexLock lock(&mutex_);
      writing_ = false;
      if (ok) return Advance();
    }
    Break();
  }

  void Break() EXCLUDES_LOCK(mutex_) {
    {
      MutexLock lock(&mutex_);
      if (std::exchange(broken_, true)) return Advance();
      message_alarm_ = nullptr;
    }
    OnBroken();
  }

  void EndDrain() EXCLUDES_LOCK(mutex_) {
    {
      MutexLock lock(&mutex_);
      if (reactor_ == nullptr) return;
    }
    OnDrainOver();
    // A client that does not read would keep the stream for ever.
    MutexLock lock(&mutex_);
    if (reactor_ != nullptr && writing_) context_->TryCancel();
  }

  const Rpc rpc_;
  grpc::CallbackServerContext* const context_;  // as long as there is a reactor
  const StreamSurroundings surroundings_;
  OpenCall open_call_;
  std::string tenant_name_;
  Request request_;  // of the read under way, or being looked at
  Reactor* reactor_ GUARDED_BY(mutex_) = nullptr;
  std::unique_ptr<Response> response_ GUARDED_BY(mutex_);  // being written
  bool reading_ GUARDED_BY(mutex_) = false;                // until the message has been looked at
  bool handling_ GUARDED_BY(mutex_) = false;               // a message is being looked at right now
  bool writing_ GUARDED_BY(mutex_) = false;
  bool half_closed_ GUARDED_BY(mutex_) = false;
  bool broken_ GUARDED_BY(mutex_) = false;
  bool draining_ GUARDED_BY(mutex_) = false;
  int64_t item_count_ GUARDED_BY(mutex_) = 0;
  std::unique_ptr<grpc::Alarm> message_alarm_ GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> drain_alarm_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
