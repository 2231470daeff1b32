// A BidiStream is one bidirectional RPC under way: it reads all the time, and writes one message at
// a time, for an owner that may go before it.
//
// It owns itself until gRPC is through with it. Thread-safe; the owner is called on the
// dispatcher's thread only.
#pragma once

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include <google/protobuf/arena.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/async_stream.h>

#include "base/mutex.h"
#include "client/dispatcher.h"
#include "client/rpc_call.h"
#include "client/status.h"
#include "mayfly/v1/function_io.grpc.pb.h"

namespace mayfly::client {

template <typename Request, typename Response>
class BidiStream : public std::enable_shared_from_this<BidiStream<Request, Response>> {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // A message may be written: the stream has begun, or the last one has left.
    virtual void OnWritable() = 0;
    // `response` is the owner's to take from until this returns.
    virtual Completion::Then OnResponse(Response* response) = 0;
    // The last call, whatever ended it; OK when it was the server that did, and meant it.
    virtual Completion::Then OnBroken(const absl::Status& status) = 0;
  };
  // PrepareAsync...
  using Method = std::unique_ptr<grpc::ClientAsyncReaderWriterInterface<Request, Response>> (
      v1::FunctionIo::StubInterface::*)(grpc::ClientContext*, grpc::CompletionQueue*);

  static std::shared_ptr<BidiStream> Start(std::shared_ptr<Dispatcher> dispatcher,
                                           v1::FunctionIo::StubInterface* stub, Method method,
                                           std::weak_ptr<Owner> owner) {
    auto stream =
        std::shared_ptr<BidiStream>(new BidiStream(std::move(dispatcher), std::move(owner)));
    stream->stream_ = (stub->*method)(&stream->context_, stream->dispatcher_->queue());
    stream->stream_->StartCall(stream->started_.Expect(stream));
    return stream;
  }

  // After OnWritable, and once for each. Nothing happens if the stream is broken.
  void Write(const Request& request) EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    if (ended_) return;
    writing_ = true;
    stream_->Write(request, written_.Expect(this->shared_from_this()));
  }

  void Cancel() { context_.TryCancel(); }

 private:
  using Handler = Completion::Then (BidiStream::*)(bool ok);

  // One kind of operation, of which one is under way at most.
  class Tag : public Completion {
   public:
    explicit Tag(Handler handler) : handler_(handler) {}
    Tag* Expect(std::shared_ptr<BidiStream> stream) {
      stream_ = std::move(stream);
      return this;
    }
    Then OnCompletion(bool ok) override {
      const std::shared_ptr<BidiStream> stream = std::move(stream_);
      return (stream.get()->*handler_)(ok);
    }

   private:
    const Handler handler_;
    std::shared_ptr<BidiStream> stream_;  // set: a completion is to come
  };

  BidiStream(std::shared_ptr<Dispatcher> dispatcher, std::weak_ptr<Owner> owner)
      : dispatcher_(std::move(dispatcher)), owner_(std::move(owner)) {}

  Completion::Then OnStarted(bool ok) {
    if (!ok) {
      End();
      return nullptr;
    }
    Read();
    if (const auto owner = owner_.lock()) owner->OnWritable();
    return nullptr;
  }

  Completion::Then OnRead(bool ok) {
    if (!ok) {
      End();
      return nullptr;
    }
    const auto owner = owner_.lock();
    if (owner == nullptr) Cancel();
    Completion::Then then = owner == nullptr ? nullptr : owner->OnResponse(response_);
    Read();
    return then;
  }

  Completion::Then OnWritten(bool ok) EXCLUDES_LOCK(mutex_) {
    {
      MutexLock lock(&mutex_);
      writing_ = false;
      if (ended_) Finish();
      if (ended_ || !ok) return nullptr;  // the read fails too
    }
    if (const auto owner = owner_.lock()) owner->OnWritable();
    return nullptr;
  }

  Completion::Then OnFinished(bool) {
    const auto owner = owner_.lock();
    return owner == nullptr ? nullptr : owner->OnBroken(StatusFromGrpc(status_));
  }

  void Read() {
    response_ = nullptr;
    arena_.Reset();
    response_ = google::protobuf::Arena::CreateMessage<Response>(&arena_);
    stream_->Read(response_, read_.Expect(this->shared_from_this()));
  }

  void End() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    ended_ = true;
    if (!writing_) Finish();
  }

  void Finish() REQUIRES_LOCK(mutex_) {
    stream_->Finish(&status_, finished_.Expect(this->shared_from_this()));
  }

  const std::shared_ptr<Dispatcher> dispatcher_;
  const std::weak_ptr<Owner> owner_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriterInterface<Request, Response>> stream_;
  Tag started_{&BidiStream::OnStarted};
  Tag read_{&BidiStream::OnRead};
  Tag written_{&BidiStream::OnWritten};
  Tag finished_{&BidiStream::OnFinished};
  google::protobuf::Arena arena_{ArenaOfMessages()};
  Response* response_ = nullptr;
  grpc::Status status_;
  Mutex mutex_;
  bool writing_ GUARDED_BY(mutex_) = false;
  bool ended_ GUARDED_BY(mutex_) = false;
};

}  // namespace mayfly::client
