// A Notification is waited for by one thread and given once by another.
#pragma once

#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "base/mutex.h"

namespace mayfly {

class Notification {
 public:
  void Notify() EXCLUDES_LOCK(mutex_) {
    // Under the lock: the waiter may destroy this as soon as it can take it.
    MutexLock lock(&mutex_);
    is_notified_ = true;
    changed_.NotifyAll();
  }
  void WaitForNotification() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    while (!is_notified_) changed_.Wait(&mutex_);
  }
  // False when it has not been given by then.
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
