// One thread waits for a Notification, and another one gives it once.
#pragma once

#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "base/mutex.h"

namespace mayfly {

class Notification {
 public:
  void Notify() EXCLUDES_LOCK(mutex_) {
    // Signal under the lock: the waiter may destroy this object as soon as it acquires the lock.
    MutexLock lock(&mutex_);
    is_notified_ = true;
    changed_.NotifyAll();
  }
  bool is_notified() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    return is_notified_;
  }
  void WaitForNotification() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    while (!is_notified_) changed_.Wait(&mutex_);
  }
  // Returns false on timeout.
  bool WaitForNotificationWithTimeout(absl::Duration timeout) EXCLUDES_LOCK(mutex_) {
    const absl::Time end = absl::Now() + timeout;
    MutexLock lock(&mutex_);
    for (absl::Time now = absl::Now(); !is_notified_ && now < end; now = absl::Now()) {
      changed_.WaitFor(&mutex_, end - now);
    }
    return is_notified_;
  }

 private:
  Mutex mutex_;
  ConditionVariable changed_;
  bool is_notified_ GUARDED_BY(mutex_) = false;
};

}  // namespace mayfly
