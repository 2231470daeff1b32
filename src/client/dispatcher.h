// A Dispatcher is a completion queue with the thread that runs what happens on it.
//
// gRPC's own callback threads are not used: 1.51 joins them when the last channel of the process
// goes, and aborts when that happens on one of them, which is where callbacks run.
//
// Whoever has an operation under way on the queue holds the Dispatcher: it shuts the queue down
// when nobody does, and the thread ends with the last of what is on it. Thread-safe.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include <grpcpp/completion_queue.h>

#include "base/mutex.h"

namespace mayfly::client {

// A tag of the completion queue. It must stay alive until it is called.
class Completion {
 public:
  // To be run when nothing of the call that ended holds the Core any more; may be null.
  using Then = absl::AnyInvocable<void()>;

  virtual ~Completion() = default;
  // On the dispatcher's thread; `ok` is false for an alarm that was cancelled, and for an operation
  // on a stream that has ended.
  virtual Then OnCompletion(bool ok) = 0;
};

// Has gathered something to send.
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

  // Flushes: when the thread is through with what it is at, so that all that its callbacks ask for
  // leaves together; at once if it is idle.
  void FlushSoon(std::shared_ptr<Flushable> flushable);

 private:
  struct Loop {
    void Run();
    void Dispatch(Completion* completion, bool ok);

    grpc::CompletionQueue queue;
    Mutex mutex;
    bool is_dispatching GUARDED_BY(mutex) = false;
    std::vector<std::shared_ptr<Flushable>> to_flush GUARDED_BY(mutex);
  };
  const std::shared_ptr<Loop> loop_;  // the thread's too
};

}  // namespace mayfly::client
