// A Channel is a connection of a Python client to its server, on which requests travel by sessions.
//
// It is opened with one certificate: when that is replaced, another channel is opened. It makes one
// attempt of each request, and says how an RPC would have ended. Nothing in it takes the interpreter's
// lock.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include <grpcpp/channel.h>
#include <grpcpp/generic/generic_stub.h>

#include "base/mutex.h"
#include "python_native/event_loop.h"
#include "python_native/request.h"
#include "python_native/session.h"

namespace mayfly::python {

struct ChannelOptions {
  std::string target;
  std::string ca, key, certificate;  // in PEM
  std::string server_name;           // empty: the target's
  absl::Duration keepalive_time;
  absl::Duration keepalive_timeout;
  absl::Duration reconnect_pause_max;
};

// Thread-safe.
class Channel : public Session::Owner {
 public:
  // Connects with the first request.
  explicit Channel(const ChannelOptions& options);
  // Closes it.
  ~Channel() override;

  // `message` is what was serialized for request->method(). It is copied.
  void Send(const std::shared_ptr<Request>& request, absl::string_view message)
      EXCLUDES_LOCK(mutex_);
  // Likewise, of a request whose answer comes while no thread waits in Await.
  void SendWatched(const std::shared_ptr<Request>& request, absl::string_view message)
      EXCLUDES_LOCK(mutex_);
  BlockingRequest::Wait Await(BlockingRequest* request, const timespec& end) {
    return loop_.Await(request, end);
  }
  // Nobody waits for the answer any longer. Claims that it brings all the same are given back. False
  // when the answer has come before.
  bool Abandon(Request* request, absl::string_view message) EXCLUDES_LOCK(mutex_);
  // Gives back what `request` has claimed, as its answer says.
  void ReleaseClaims(absl::string_view claim_request, const Answer& answer) EXCLUDES_LOCK(mutex_);
  // Requests under way, and later ones, end with CANCELLED.
  void Close() EXCLUDES_LOCK(mutex_);

 private:
  void OnAnswer(const std::shared_ptr<Request>& request, Answer answer) override;
  void OnEnd(Session* session) override EXCLUDES_LOCK(mutex_);

  // False when there is no session.
  bool CheckIdle() EXCLUDES_LOCK(mutex_);
  // Null when the channel is closed.
  std::shared_ptr<Session> Current() EXCLUDES_LOCK(mutex_);

  Mutex mutex_;
  std::unique_ptr<grpc::GenericStub> stub_ GUARDED_BY(mutex_);  // null when it is closed
  ConditionVariable session_ended_;
  bool is_closed_ GUARDED_BY(mutex_) = false;
  bool is_stopped_ GUARDED_BY(mutex_) = false;
  bool is_watched_ GUARDED_BY(mutex_) = false;
  std::shared_ptr<Session> current_ GUARDED_BY(mutex_);  // null: the next request opens one
  std::vector<std::shared_ptr<Session>> sessions_ GUARDED_BY(mutex_);  // all that have not ended
  EventLoop loop_;
};

}  // namespace mayfly::python
