// An EventLoop is the completion queue of a channel, polled in turns by the threads that wait for
// answers: a lone thread gets its answer without the help of another, which would cost it four
// switches of threads. When no thread has waited for some time, or when there is more to wait for,
// a thread of its own polls, so that pings are answered and broken connections are noticed.
#pragma once

#include <ctime>
#include <list>
#include <thread>

#include "absl/functional/any_invocable.h"
#include <grpcpp/completion_queue.h>

#include "base/mutex.h"
#include "python_native/blocking_request.h"

namespace mayfly::python {

// An operation of gRPC that is under way; a tag of the completion queue.
class Event {
 public:
  virtual ~Event() = default;
  virtual void OnEvent(bool ok) = 0;
};

// Thread-safe.
class EventLoop {
 public:
  using Wait = BlockingRequest::Wait;

  // `on_quiet` is called on the loop's own thread every few seconds without an event, until it
  // returns false, which says that there is nothing to look after until the next event.
  explicit EventLoop(absl::AnyInvocable<bool()> on_quiet);
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  grpc::CompletionQueue* queue() { return &queue_; }

  // Woken up: it is answered.
  Wait Await(BlockingRequest* request, const timespec& end) EXCLUDES_LOCK(mutex_);
  // From now on the loop's own thread polls whenever no other does: more than blocking requests is
  // waited for.
  void BeginWatch() EXCLUDES_LOCK(mutex_);
  // When no operation is under way and none is begun any more. Once; not on the loop's own thread.
  void Stop() EXCLUDES_LOCK(mutex_);

 private:
  using Waiters = std::list<BlockingRequest*>;

  Wait Poll(const BlockingRequest& request, const timespec& end);
  // If nobody polls, somebody is woken to do it.
  void PassOn() REQUIRES_LOCK(mutex_);
  void Run();
  // Until a thread waits for an answer. False when the queue is shut down.
  bool PollAlone() EXCLUDES_LOCK(mutex_);

  grpc::CompletionQueue queue_;
  absl::AnyInvocable<bool()> on_quiet_;
  Mutex mutex_;
  ConditionVariable changed_;
  bool is_polled_ GUARDED_BY(mutex_) = false;
  bool is_stopped_ GUARDED_BY(mutex_) = false;
  uint64_t turns_ GUARDED_BY(mutex_) = 0;  // of waiting threads
  bool is_watched_ GUARDED_BY(mutex_) = false;
  Waiters waiters_ GUARDED_BY(mutex_);  // that neither poll nor have been woken
  std::thread thread_;
};

}  // namespace mayfly::python
