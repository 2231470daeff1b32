// A SyncGroup lets concurrent callers share one sync.
//
// A sync that began before a caller's writes says nothing about them, so a caller waits for one
// that began after it came: it runs that sync itself when none is running, and otherwise shares
// the next with all who wait. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"

#include "base/mutex.h"

namespace mayfly {

class SyncGroup {
 public:
  // `sync` is never called twice at once. Once it has failed it is not called again.
  explicit SyncGroup(std::function<absl::Status()> sync);

  absl::Status Sync() EXCLUDES_LOCK(mutex_);

 private:
  const std::function<absl::Status()> sync_;
  Mutex mutex_;
  ConditionVariable finished_;
  uint64_t rounds_started_ GUARDED_BY(mutex_) = 0;
  uint64_t rounds_finished_ GUARDED_BY(mutex_) = 0;
  absl::Status status_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
