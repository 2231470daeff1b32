// A SharedOutcome ends a request after `count` answers, with the first error among them, if any.
// Thread-safe.
#pragma once

#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "base/mutex.h"

namespace mayfly {

class SharedOutcome {
 public:
  using Done = absl::AnyInvocable<void(const absl::Status&)>;

  SharedOutcome(Done done, int count) : done_(std::move(done)), awaited_(count) {}

  void Arrive(const absl::Status& status) EXCLUDES_LOCK(mutex_) {
    absl::Status outcome;
    {
      MutexLock lock(&mutex_);
      if (status_.ok()) status_ = status;
      if (--awaited_ > 0) return;
      outcome = status_;
    }
    done_(outcome);
  }

 private:
  Done done_;
  Mutex mutex_;
  int awaited_ GUARDED_BY(mutex_);
  absl::Status status_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
