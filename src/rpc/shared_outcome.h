// A SharedOutcome ends a call after `count` answers, with the first error among them, if any.
// Thread-safe.
#pragma once

#include "absl/status/status.h"

#include "base/mutex.h"
#include "rpc/unary_call.h"

namespace mayfly {

class SharedOutcome {
 public:
  SharedOutcome(UnaryCall* call, int count) : call_(call), awaited_(count) {}

  void Arrive(const absl::Status& status) EXCLUDES_LOCK(mutex_) {
    {
      MutexLock lock(&mutex_);
      if (status_.ok()) status_ = status;
      if (--awaited_ > 0) return;
    }
    if (absl::IsCancelled(status_)) return call_->FinishCancelled();
    call_->FinishWith(status_);
  }

 private:
  UnaryCall* const call_;
  Mutex mutex_;
  int awaited_ GUARDED_BY(mutex_);
  absl::Status status_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
