// The only lock here: std::mutex with the annotations of clang's -Wthread-safety, so that "guarded
// by" is checked by the compiler, and ThreadSanitizer sees every acquisition.
#pragma once

#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

// Abseil's annotations under shorter names. Without clang they are empty.
#undef GUARDED_BY
#define GUARDED_BY(x) ABSL_GUARDED_BY(x)
#define REQUIRES_LOCK(x) ABSL_EXCLUSIVE_LOCKS_REQUIRED(x)
#define EXCLUDES_LOCK(...) ABSL_LOCKS_EXCLUDED(__VA_ARGS__)

namespace mayfly {

class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  friend class ConditionVariable;
  std::mutex mutex_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_->Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mutex_;
};

// Waits are spurious, as always: call them in a loop over the condition.
class ConditionVariable {
 public:
  void Wait(Mutex* mutex) REQUIRES_LOCK(mutex) {
    std::unique_lock<std::mutex> lock(mutex->mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  // False when `timeout` went by.
  bool WaitFor(Mutex* mutex, absl::Duration timeout) REQUIRES_LOCK(mutex) {
    std::unique_lock<std::mutex> lock(mutex->mutex_, std::adopt_lock);
    const bool notified = condition_.wait_for(lock, absl::ToChronoNanoseconds(timeout)) ==
                          std::cv_status::no_timeout;
    lock.release();
    return notified;
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace mayfly
