// A ThreadPool runs closures on a fixed number of threads, in the order in which they were added.
//
// It is for work that is too long for a commit thread or a gRPC thread: reading, opening and
// sealing payloads. The destructor runs all added closures and then joins. Thread-safe.
#pragma once

#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"

#include "base/executor.h"
#include "base/mutex.h"

namespace mayfly {

class ThreadPool final : public Executor {
 public:
  // `name` (at most 15 characters) is the name of the threads in a debugger.
  ThreadPool(const std::string& name, int thread_count);
  ~ThreadPool() override;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  void Run(absl::AnyInvocable<void()> work) override EXCLUDES_LOCK(mutex_);
  size_t thread_count() const override { return threads_.size(); }

 private:
  void Work() EXCLUDES_LOCK(mutex_);

  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<absl::AnyInvocable<void()>> queue_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace mayfly
