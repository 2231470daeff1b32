// The only lock here: std::mutex with the annotations of clang's -Wthread-safety, so that "guarded
// by" is checked by the compiler, and ThreadSanitizer sees every acquisition.
#pragma once

#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"

#if defined(__clang__)
#define MAYFLY_ANNOTATE(...) __attribute__((__VA_ARGS__))
#else
#define MAYFLY_ANNOTATE(...)
#endif

#undef GUARDED_BY
#define GUARDED_BY(x) MAYFLY_ANNOTATE(guarded_by(x))
#define REQUIRES_LOCK(x) MAYFLY_ANNOTATE(requires_capability(x))
#define EXCLUDES_LOCK(...) MAYFLY_ANNOTATE(locks_excluded(__VA_ARGS__))

namespace mayfly {

class MAYFLY_ANNOTATE(capability("mutex")) Mutex {
 public:
  void Lock() MAYFLY_ANNOTATE(acquire_capability()) { mutex_.lock(); }
  void Unlock() MAYFLY_ANNOTATE(release_capability()) { mutex_.unlock(); }

 private:
  friend class ConditionVariable;
  std::mutex mutex_;
};

class MAYFLY_ANNOTATE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) MAYFLY_ANNOTATE(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_->Lock();
  }
  ~MutexLock() MAYFLY_ANNOTATE(release_capability()) { mutex_->Unlock(); }
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
