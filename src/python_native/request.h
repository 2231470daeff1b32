// A Request is one request that travels on a session, from when it is sent until it is answered.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include <grpcpp/support/slice.h>

#include "base/mutex.h"

namespace mayfly::python {

// How an RPC would have ended.
struct Answer {
  int code = 0;          // grpc::StatusCode
  std::string message;   // of an error
  std::string details;   // of an error: a google.rpc.Status, perhaps empty
  grpc::Slice response;  // the serialized message, if there was no error
};

// Thread-safe.
class Request {
 public:
  explicit Request(int method) : method_(method) {}
  virtual ~Request() = default;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  int method() const { return method_; }

  // Exactly one answer comes, on any thread; not under a lock of the channel. False when the request
  // was abandoned: `answer` is left as it was.
  bool TakeAnswer(Answer&& answer) EXCLUDES_LOCK(mutex_);
  // Nobody waits for it any longer. False when the answer has come before.
  bool Abandon(absl::string_view request) EXCLUDES_LOCK(mutex_);
  // What was sent, of an abandoned one.
  const std::string& abandoned() const { return abandoned_request_; }

  // Once TakeAnswer has returned true.
  Answer& answer() { return answer_; }

 protected:
  // The answer is there.
  virtual void OnAnswer() = 0;

 private:
  enum class State { kWaiting, kAnswered, kAbandoned };

  const int method_;
  Answer answer_;
  std::string abandoned_request_;
  Mutex mutex_;
  State state_ GUARDED_BY(mutex_) = State::kWaiting;
};

}  // namespace mayfly::python
