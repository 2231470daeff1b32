// A Dispatcher is a gRPC completion queue and the thread that runs its completions: a core's
// thread.
//
// gRPC's own callback threads are not used. gRPC 1.51 joins them when the last channel of the
// process is destroyed, and aborts when that happens on one of them, where callbacks run.
//
// Objects with an operation under way on the queue hold the Dispatcher. The last one that lets go
// of it shuts the queue down, and the thread ends when the queue is empty. Thread-safe.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include <grpcpp/completion_queue.h>

#include "base/mutex.h"

namespace mayfly::client {

// A tag of the completion queue; it lives until it is called. Pass gRPC a Completion*: the tag is a
// void*, and in a class with several bases `this` may be another address.
class Completion {
 public:
  // Runs when the completion has returned, so that the call that ended no longer holds the Core.
  // May be null.
  using Then = absl::AnyInvocable<void()>;

  virtual ~Completion() = default;
  // On the dispatcher's thread. `ok` is false for an alarm that was cancelled, and for an operation
  // on a stream that has ended.
  virtual Then OnCompletion(bool ok) = 0;
};

// An object that gathers requests, to send them together.
class Flushable {
 public:
  virtual ~Flushable() = default;
  virtual void Flush() = 0;
};

class Dispatcher {
 public:
  // `thread` becomes the dispatcher's.
  explicit Dispatcher(std::thread* thread);
  ~Dispatcher();
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  grpc::CompletionQueue* queue() const { return &loop_->queue; }

  // Runs `task` on the thread.
  static void Post(const std::shared_ptr<Dispatcher>& dispatcher, absl::AnyInvocable<void()> task);

  // Flushes `flushable` when the completion that runs now has returned, so that the requests of all
  // its callbacks leave together. Flushes at once if the thread is idle.
  void FlushSoon(std::shared_ptr<Flushable> flushable);
  // Likewise, but after all that FlushSoon flushes, which may have more for `flushable`.
  void FlushLast(std::shared_ptr<Flushable> flushable);

 private:
  using Flushables = std::vector<std::shared_ptr<Flushable>>;
  struct Loop {
    void Run();
    void Dispatch(Completion* completion, bool ok);
    // Empty when all is flushed; then the thread is idle.
    Flushables TakeNext() EXCLUDES_LOCK(mutex);

    grpc::CompletionQueue queue;
    Mutex mutex;
    bool is_dispatching GUARDED_BY(mutex) = false;
    Flushables to_flush GUARDED_BY(mutex);
    Flushables to_flush_last GUARDED_BY(mutex);
  };
  const std::shared_ptr<Loop> loop_;  // the thread's too
};

}  // namespace mayfly::client
