// A FaultPlan counts the operations that change a disk and decides which of them fail.
//
//   FaultPlan plan;
//   plan.FailAt(k);                       // the k-th from here on, counting from 1
//   plan.FailAt(k, /*and_all_after=*/true);  // a disk that dies
//   plan.KillAt(k);                       // a process that is killed
//   plan.FailFromNowOn();                 // the process is "dead"
//
// One plan may be shared by several fault-injecting file systems, whose operations are then counted
// together. A test runs its story once without faults to learn operations(), and then once for
// every k up to that. Thread-safe.
#pragma once

#include <cstdint>

#include "base/mutex.h"

namespace mayfly {

class FaultPlan {
 public:
  // Asked before every operation that changes the disk: write, sync, rename, create, remove.
  bool ShouldFail() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    ++operations_;
    if (fail_at_ == 0 || operations_ < fail_at_) return false;
    if (operations_ > fail_at_ && !and_all_after_) return false;
    has_failed_ = true;
    return true;
  }

  // Counting starts again at 1.
  void FailAt(uint64_t operation, bool and_all_after = false) EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    operations_ = 0;
    fail_at_ = operation;
    and_all_after_ = and_all_after;
    is_dead_ = false;
    is_kill_ = false;
    has_failed_ = false;
  }
  // The k-th from here on is not done, and nothing after it: a process that is killed, whose disk is fine.
  void KillAt(uint64_t operation) EXCLUDES_LOCK(mutex_) {
    FailAt(operation, /*and_all_after=*/true);
    MutexLock lock(&mutex_);
    is_kill_ = true;
  }
  void FailFromNowOn() EXCLUDES_LOCK(mutex_) {
    FailAt(1, /*and_all_after=*/true);
    MutexLock lock(&mutex_);
    is_dead_ = true;
  }
  void NeverFail() { FailAt(0); }

  // Operations asked for since the last FailAt, failed ones included.
  uint64_t operations() const EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    return operations_;
  }
  // Since FailFromNowOn, or since the operation of KillAt. What a background thread still tries was never done: of a sync that fails
  // then no disk has lost anything.
  bool is_dead() const EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    return is_dead_ || (is_kill_ && has_failed_);
  }
  bool has_failed() const EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    return has_failed_;
  }

 private:
  mutable Mutex mutex_;
  uint64_t operations_ GUARDED_BY(mutex_) = 0;
  uint64_t fail_at_ GUARDED_BY(mutex_) = 0;  // 0: none
  bool and_all_after_ GUARDED_BY(mutex_) = false;
  bool is_dead_ GUARDED_BY(mutex_) = false;
  bool is_kill_ GUARDED_BY(mutex_) = false;
  bool has_failed_ GUARDED_BY(mutex_) = false;
};

}  // namespace mayfly
