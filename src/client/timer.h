// A Timer calls back once at the earliest of the times it was set to; then it can be set anew.
//
// The callback runs on the dispatcher's thread, up to a few milliseconds late, and not after Stop
// was called on that thread. Thread-safe.
#pragma once

#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include <grpcpp/alarm.h>

#include "base/mutex.h"
#include "client/dispatcher.h"

namespace mayfly::client {

class Timer : public Completion, public std::enable_shared_from_this<Timer> {
 public:
  explicit Timer(absl::AnyInvocable<void()> on_time) : on_time_(std::move(on_time)) {}

  // `due` is a reading of Elapsed().
  void SetNoLaterThan(const std::shared_ptr<Dispatcher>& dispatcher, absl::Duration due)
      EXCLUDES_LOCK(mutex_);
  void Stop() EXCLUDES_LOCK(mutex_);

  Then OnCompletion(bool ok) override EXCLUDES_LOCK(mutex_);

 private:
  void Arm(std::shared_ptr<Dispatcher> dispatcher) REQUIRES_LOCK(mutex_);

  absl::AnyInvocable<void()> on_time_;  // the thread's
  Mutex mutex_;
  bool stopped_ GUARDED_BY(mutex_) = false;
  absl::Duration due_ GUARDED_BY(mutex_) = absl::InfiniteDuration();
  absl::Duration armed_for_ GUARDED_BY(mutex_) = absl::InfiniteDuration();
  std::unique_ptr<grpc::Alarm> alarm_ GUARDED_BY(mutex_);  // set: a completion is to come
  std::shared_ptr<Dispatcher> dispatcher_ GUARDED_BY(mutex_);
  std::shared_ptr<Timer> self_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::client
