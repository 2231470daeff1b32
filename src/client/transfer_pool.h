// A TransferPool has the threads for transfers without a caller that waits. Transfers block: on the
// network, and on their sources and sinks.
#pragma once

#include <deque>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"

#include "base/mutex.h"

namespace mayfly::client {

// Thread-safe. Threads are started when there is work for them, and run until the pool is
// destroyed.
class TransferPool {
 public:
  explicit TransferPool(int threads_max) : threads_max_(threads_max) {}
  // Joins the threads. No transfer is under way, because transfers hold the core that owns the
  // pool.
  ~TransferPool();

  // Runs `transfer` on one of the threads. Transfers start in the order of these calls.
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
