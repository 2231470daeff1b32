// An Interruption is how the user's wish to stop reaches what is under way: claims are given back
// then, and no half-written file stays. Thread-safe.
#pragma once

#include <functional>

#include "base/mutex.h"
#include "mayfly/cancellation.h"

namespace mayfly::cli {

class Interruption {
 public:
  void Interrupt() EXCLUDES_LOCK(mutex_);
  bool IsInterrupted() const { return cancellation_.IsCancelled(); }
  // Is cancelled when it is interrupted.
  const client::Cancellation& cancellation() const { return cancellation_; }

  // What is to be done too, by the thread that interrupts, or now if that was before. With null,
  // nothing runs any more when this returns.
  void SetAction(std::function<void()> action) EXCLUDES_LOCK(mutex_);

 private:
  const client::Cancellation cancellation_;
  Mutex mutex_;
  std::function<void()> action_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::cli
