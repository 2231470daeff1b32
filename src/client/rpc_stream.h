// An RpcStream is one bidirectional RPC under way. It reads all the time, and writes one message at
// a time. Its owner may be destroyed before it.
//
// It owns itself until gRPC has completed its last operation. Thread-safe; the owner is called on
// the dispatcher's thread only.
#pragma once

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include <google/protobuf/arena.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/async_stream.h>

#include "base/mutex.h"
#include "client/dispatcher.h"
#include "client/message_arena.h"
#include "client/status.h"
#include "mayfly/v1/function_io.grpc.pb.h"

namespace mayfly::client {

template <typename Request, typename Response>
class RpcStream : public std::enable_shared_from_this<RpcStream<Request, Response>> {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // A message may be written: the stream has begun, or the last message was written.
    virtual void OnWritable() = 0;
    // The owner may move data out of `response` until this returns.
    virtual Completion::Then OnResponse(Response* response) = 0;
    // The last call. OK when the server has ended the stream on purpose.
    virtual Completion::Then OnBroken(const absl::Status& status) = 0;
  };
  // PrepareAsync...
  using Method = std::unique_ptr<grpc::ClientAsyncReaderWriterInterface<Request, Response>> (
      v1::FunctionIo::StubInterface::*)(grpc::ClientContext*, grpc::CompletionQueue*);

  static std::shared_ptr<RpcStream> Start(std::shared_ptr<Dispatcher> dispatcher,
                                          v1::FunctionIo::StubInterface* stub, Method method,
                                          std::weak_ptr<Owner> owner) {
    auto stream =
        std::shared_ptr<RpcStream>(new RpcStream(std::move(dispatcher), std::move(owner)));
    stream->stream_ = (stub->*method)(&stream->context_, stream->dispatcher_->queue());
    stream->stream_->StartCall(stream->started_.Expect(stream));
    return stream;
  }

  // Once after each OnWritable. Has no effect on a broken stream. `request` is serialized when it
  // returns.
  void Write(const Request& request) EXCLUDES_LOCK(mutex_) {
    {
      MutexLock lock(&mutex_);
      if (ended_) return;
      writing_ = true;
    }
    // Without the lock: the completion takes it, and often comes before this returns.
    stream_->Write(request, written_.Expect(this->shared_from_this()));
  }

  // The last write, likewise: the owner is called when it is done, and then when the server has
  // ended the stream.
  void WritesDone() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    if (ended_) return;
    writing_ = true;
    stream_->WritesDone(written_.Expect(this->shared_from_this()));
  }

  void Cancel() { context_.TryCancel(); }

 private:
  using Handler = Completion::Then (RpcStream::*)(bool ok);

  // One kind of gRPC operation. At most one of a kind is under way.
  class Tag : public Completion {
   public:
    explicit Tag(Handler handler) : handler_(handler) {}
    Completion* Expect(std::shared_ptr<RpcStream> stream) {
      stream_ = std::move(stream);
      return this;
    }
    Then OnCompletion(bool ok) override {
      const std::shared_ptr<RpcStream> stream = std::move(stream_);
      return (stream.get()->*handler_)(ok);
    }

   private:
    const Handler handler_;
    std::shared_ptr<RpcStream> stream_;  // set: a completion is to come
  };

  RpcStream(std::shared_ptr<Dispatcher> dispatcher, std::weak_ptr<Owner> owner)
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
  Tag started_{&RpcStream::OnStarted};
  Tag read_{&RpcStream::OnRead};
  Tag written_{&RpcStream::OnWritten};
  Tag finished_{&RpcStream::OnFinished};
  google::protobuf::Arena arena_{ArenaOfMessages()};
  Response* response_ = nullptr;
  grpc::Status status_;
  Mutex mutex_;
  bool writing_ GUARDED_BY(mutex_) = false;
  bool ended_ GUARDED_BY(mutex_) = false;
};

}  // namespace mayfly::client
