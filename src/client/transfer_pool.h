// A TransferPool has the threads on which payloads are streamed that nobody waits for: transfers
// block, on the network and on their sources and sinks.
#pragma once

#include <deque>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"

#include "base/mutex.h"

namespace mayfly::client {

// Thread-safe. A thread is started when there is work for it, and stays.
class TransferPool {
 public:
  explicit TransferPool(int threads_max) : threads_max_(threads_max) {}
  // Waits for what is under way, which holds the pool's owner and so is nothing.
  ~TransferPool();

  // Runs `transfer` on one of the threads, after those that came before it.
  void Start(absl::AnyInvocable<void()> transfer) EXCLUDES_LOCK(mutex_);

 private:
  void Run() EXCLUDES_LOCK(mutex_);

  const int threads_max_;
  Mutex mutex_;
  ConditionVariable changed_;
  bool stopped_ GUARDED_BY(mutex_) = false;
  int idle_ GUARDED_BY(mutex_) = 0;
  std::deque<absl::AnyInvocable<void()>> waiting_ GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::client
