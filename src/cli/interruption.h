// An Interruption passes the user's request to stop to operations in progress. They release claims,
// and leave only files with which the same command resumes. Thread-safe.
#pragma once

#include <functional>

#include "base/mutex.h"
#include "mayfly/cancellation.h"

namespace mayfly::cli {

class Interruption {
 public:
  void Interrupt() EXCLUDES_LOCK(mutex_);
  bool IsInterrupted() const { return cancellation_.IsCancelled(); }
  // Cancelled on interruption.
  const client::Cancellation& cancellation() const { return cancellation_; }

  // Sets an action to run on interruption, by the interrupting thread, or at once if that has
  // already happened. With null, no action runs after this returns.
  void SetAction(std::function<void()> action) EXCLUDES_LOCK(mutex_);

 private:
  const client::Cancellation cancellation_;
  Mutex mutex_;
  std::function<void()> action_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::cli
