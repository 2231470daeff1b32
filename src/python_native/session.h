// A Session carries the requests of a channel on one stream, as client/session.h does for C++: it
// writes one frame at a time, with all requests that have come since the last one.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>

#include "base/mutex.h"
#include "python_native/event_loop.h"
#include "python_native/request.h"

namespace mayfly::python {

// Thread-safe. Its owner keeps it until OnEnd.
class Session {
 public:
  // Called on the thread that polls the queue, without a lock.
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnAnswer(const std::shared_ptr<Request>& request, Answer answer) = 0;
    // After the answers of all of its requests. `session` may be destroyed.
    virtual void OnEnd(Session* session) = 0;
  };

  Session(Owner* owner, grpc::GenericStub* stub, grpc::CompletionQueue* queue);

  // False, and nothing happens, when the session takes no more requests. `message` is copied.
  bool Send(const std::shared_ptr<Request>& request, absl::string_view message)
      EXCLUDES_LOCK(mutex_);
  // Its answer is not wanted any more.
  void Withdraw(const Request* request) EXCLUDES_LOCK(mutex_);
  // Takes no more requests, and ends when those that it took are answered.
  void Retire() EXCLUDES_LOCK(mutex_);
  void Cancel() EXCLUDES_LOCK(mutex_);
  // Retires it when it has been idle for long enough, and ends it when it does not end by itself.
  void CheckIdle() EXCLUDES_LOCK(mutex_);
  bool IsOfUse() EXCLUDES_LOCK(mutex_);

 private:
  using Handler = void (Session::*)(bool ok);
  class Operation : public Event {
   public:
    Operation(Session* session, Handler handler) : session_(session), handler_(handler) {}
    void OnEvent(bool ok) override { (session_->*handler_)(ok); }

   private:
    Session* const session_;
    const Handler handler_;
  };
  struct Frame {
    std::string bytes;
    int requests = 0;
  };

  void OnStarted(bool ok);
  void OnRead(bool ok);
  void OnWritten(bool ok);
  void OnFinished(bool ok);
  void Write(Frame frame);
  void Take(const grpc::Slice& frame);
  // The stream is over, when nothing is being written.
  void EndReading() EXCLUDES_LOCK(mutex_);
  void HalfCloseIfDone() REQUIRES_LOCK(mutex_);

  Owner* const owner_;
  const absl::Duration opened_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  Operation started_{this, &Session::OnStarted};
  Operation read_{this, &Session::OnRead};
  Operation written_{this, &Session::OnWritten};
  Operation finished_{this, &Session::OnFinished};
  grpc::ByteBuffer received_;
  grpc::Status status_;

  Mutex mutex_;
  bool is_writing_ GUARDED_BY(mutex_) = true;  // an operation is under way, the start at first
  bool is_retired_ GUARDED_BY(mutex_) = false;
  bool is_half_closed_ GUARDED_BY(mutex_) = false;
  bool is_over_ GUARDED_BY(mutex_) = false;  // nothing is read any more
  uint64_t next_number_ GUARDED_BY(mutex_) = 1;
  absl::Duration last_used_ GUARDED_BY(mutex_);
  std::deque<Frame> frames_ GUARDED_BY(mutex_);  // to be written
  absl::flat_hash_map<uint64_t, std::shared_ptr<Request>> requests_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::python
