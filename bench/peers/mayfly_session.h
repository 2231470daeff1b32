// A MayflySession is one Session RPC, which carries the requests of any number of callers.
//
// A request leaves at once, or with all others that were sent while the message before was being
// written. What callers send while they take up the responses of one message leaves together.
// Thread-safe. Callers are called on gRPC's threads.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>
#include <grpcpp/support/status.h>

#include "arena_message.h"
#include "base/mutex.h"
#include "base/notification.h"
#include "mayfly/v1/function_io.grpc.pb.h"
#include "mayfly_channels.h"

namespace mayfly::peers {

class MayflySession final
    : public grpc::ClientBidiReactor<v1::SessionRequest, v1::SessionResponse> {
 public:
  // Of one message.
  static constexpr int kRequestsMax = 256;
  static constexpr size_t kBytesMax = 256 << 10;

  // Opens the session. The stub outlives it.
  explicit MayflySession(Stub* stub);
  MayflySession(const MayflySession&) = delete;
  MayflySession& operator=(const MayflySession&) = delete;

  // The response is gone when `done` returns.
  using Done = std::function<void(const v1::NumberedResponse& response)>;
  // Instantiated for the requests of a call's life.
  template <typename Request>
  void Send(const Request& request, Done done);
  // When all requests have been answered. Of sessions with common callers, all are closed before
  // one is destroyed: the thread that reads from one writes to the others.
  void Close();

 private:
  void OnWriteDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  struct Message {
    ArenaMessage<v1::SessionRequest> request;
    size_t bytes = 0;
  };

  void Flush() EXCLUDES_LOCK(mutex_);
  uint64_t AddWaiting(Done done) REQUIRES_LOCK(mutex_);
  Done TakeWaiting(uint64_t number) EXCLUDES_LOCK(mutex_);
  v1::NumberedRequest* AddRequest(size_t bytes) REQUIRES_LOCK(mutex_);
  void WriteNext() REQUIRES_LOCK(mutex_);

  grpc::ClientContext context_;
  ArenaMessage<v1::SessionResponse> response_;
  Notification ended_;
  Mutex mutex_;
  std::deque<std::unique_ptr<Message>> collected_ GUARDED_BY(mutex_);
  std::unique_ptr<Message> written_ GUARDED_BY(mutex_);  // gRPC reads it while `writes_`
  std::unique_ptr<Message> spare_ GUARDED_BY(mutex_);
  bool writes_ GUARDED_BY(mutex_) = false;
  bool closes_ GUARDED_BY(mutex_) = false;
  std::vector<Done> waiting_ GUARDED_BY(mutex_);  // by number; null: a free one
  std::vector<uint64_t> free_numbers_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::peers
