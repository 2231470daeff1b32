// A BidiStream is one bidirectional RPC. This base class handles gRPC's callbacks; derived classes
// implement the content of the stream.
//
// Callbacks arrive in any order: from any of gRPC's threads, from the store's threads, and from
// alarms. A cancellation can arrive in the middle of any other callback, and a result of the store
// long after the RPC has ended. Therefore
//   * the stream is shared by everything that may still call it. gRPC owns only the reactor, which
//     deletes itself in OnDone;
//   * all operations on the reactor (read, write, finish) start in Advance, under the stream's
//     mutex. Finish is the last one; it also clears the pointer to the reactor;
//   * at most one read and one write are in flight, and Finish is not called while a write is in
//     flight or a message is being handled.
// gRPC never calls a stream back from within these operations (none of its reactions is inlineable,
// see server_callback_handlers.h), and what it may call there of unary calls needs no stream
// (unary_call.h). So the mutex may be held.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include <google/protobuf/arena.h>
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

// All must outlive the streams.
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
  // After a drain begins, the client has this long to end its stream, and as long again to read the
  // rest.
  static constexpr absl::Duration kDrainGrace = absl::Seconds(1);

  BidiStream(Rpc rpc, grpc::CallbackServerContext* context, const StreamSurroundings& surroundings)
      : rpc_(rpc),
        context_(context),
        surroundings_(surroundings),
        open_call_(surroundings.open_calls, OpenCall::Kind::kStream) {}

  // Returns the reactor for gRPC. Call once.
  grpc::ServerBidiReactor<Request, Response>* Start() EXCLUDES_LOCK(mutex_) {
    auto* const reactor = new Reactor(this->shared_from_this(), rpc_, surroundings_);
    reactor->record.set_tenant(tenant_name_);
    {
      MutexLock lock(&mutex_);
      reactor_ = reactor;
      Advance();
    }
    // The RPC cannot end before gRPC has received the reactor.
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
  // Called without the mutex:

  // Handles a message. The next one is not read before this returns. If it returns a delay, it is
  // called again with the same message after that delay.
  virtual absl::Duration OnMessage(const Request& request) EXCLUDES_LOCK(mutex_) = 0;
  // The client has half-closed the stream.
  virtual void OnHalfClose() EXCLUDES_LOCK(mutex_) = 0;
  // A message was written, or was lost with the connection: then the stream breaks.
  virtual void OnWritten(bool is_sent) EXCLUDES_LOCK(mutex_) = 0;
  // The client cannot be reached any more. Called once.
  virtual void OnBroken() EXCLUDES_LOCK(mutex_) = 0;
  virtual void OnDrain() EXCLUDES_LOCK(mutex_) = 0;
  // The drain grace is over.
  virtual void OnDrainOver() EXCLUDES_LOCK(mutex_) = 0;

  // Called with the mutex held:

  // Whether another message may be read: false while too many responses are waiting for the client.
  virtual bool WantsMessage() REQUIRES_LOCK(mutex_) = 0;
  // The next response, or null if there is none.
  virtual std::unique_ptr<Response> NextResponse() REQUIRES_LOCK(mutex_) = 0;
  // The final status, once nothing keeps the stream open.
  virtual std::optional<absl::Status> Outcome() REQUIRES_LOCK(mutex_) = 0;

  // Starts every operation that is possible now. Call after any change to the above.
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
      reactor_->StartRead(request_);
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

  // Sets the admitted caller. Call before Start.
  void OpenFor(const Admitted& admitted) {
    tenant_name_ = admitted.tenant->name;
    open_call_.Open(context_->c_call(), admitted.chain, admitted.tenant);
  }
  PayloadTaker* taker() { return &open_call_; }
  void CountItems(int64_t count) REQUIRES_LOCK(mutex_) { item_count_ += count; }
  bool broken() const REQUIRES_LOCK(mutex_) { return broken_; }
  const StreamSurroundings& surroundings() const { return surroundings_; }
  Log* log() const { return surroundings_.log; }
  Clock* clock() const { return surroundings_.clock; }

  Mutex mutex_;

 private:
  // gRPC's handle of the stream.
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

  // Calls `on_alarm` after the delay, or earlier when `alarm` is destroyed. An alarm is not set
  // twice, and must not own its owner.
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
    const absl::Duration delay = OnMessage(*request_);
    MutexLock lock(&mutex_);
    handling_ = false;
    if (delay > absl::ZeroDuration() && !broken_) {
      return SetAlarm(delay, &BidiStream::Handle, &message_alarm_);
    }
    // Frees its memory: a stream may be idle for hours.
    arena_.Reset();
    request_ = google::protobuf::Arena::CreateMessage<Request>(&arena_);
    reading_ = false;
    Advance();
  }

  void WriteDone(bool ok) EXCLUDES_LOCK(mutex_) {
    open_call_.EndWrite();
    OnWritten(ok);
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
      SetAlarm(kDrainGrace, &BidiStream::CutUnread, &drain_alarm_);
    }
    OnDrainOver();
  }

  // A client that does not read would keep the stream open for ever.
  void CutUnread() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    if (reactor_ != nullptr && writing_) context_->TryCancel();
  }

  const Rpc rpc_;
  grpc::CallbackServerContext* const context_;  // valid while reactor_ is set
  const StreamSurroundings surroundings_;
  OpenCall open_call_;
  std::string tenant_name_;
  // A message has some thousand small objects: an arena allocates them together.
  google::protobuf::Arena arena_;
  // Being read or handled.
  Request* request_ = google::protobuf::Arena::CreateMessage<Request>(&arena_);
  Reactor* reactor_ GUARDED_BY(mutex_) = nullptr;
  std::unique_ptr<Response> response_ GUARDED_BY(mutex_);  // being written
  bool reading_ GUARDED_BY(mutex_) = false;                // until the message has been handled
  bool handling_ GUARDED_BY(mutex_) = false;               // a message is being handled
  bool writing_ GUARDED_BY(mutex_) = false;
  bool half_closed_ GUARDED_BY(mutex_) = false;
  bool broken_ GUARDED_BY(mutex_) = false;
  bool draining_ GUARDED_BY(mutex_) = false;
  int64_t item_count_ GUARDED_BY(mutex_) = 0;
  std::unique_ptr<grpc::Alarm> message_alarm_ GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> drain_alarm_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
