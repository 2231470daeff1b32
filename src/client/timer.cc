#include "client/timer.h"

#include <algorithm>
#include <utility>

#include "client/time_budget.h"

namespace mayfly::client {

void Timer::SetNoLaterThan(const std::shared_ptr<Dispatcher>& dispatcher, absl::Duration due) {
  MutexLock lock(&mutex_);
  if (stopped_ || due >= due_) return;
  due_ = due;
  if (alarm_ == nullptr) {
    Arm(dispatcher);
  } else if (due_ < armed_for_) {
    alarm_->Cancel();  // its completion arms it for the new time
  }
}

void Timer::Stop() {
  MutexLock lock(&mutex_);
  stopped_ = true;
  if (alarm_ != nullptr) alarm_->Cancel();
}

Completion::Then Timer::OnCompletion(bool) {
  std::shared_ptr<Timer> self;
  std::shared_ptr<Dispatcher> dispatcher;
  {
    MutexLock lock(&mutex_);
    self = std::move(self_);
    dispatcher = std::move(dispatcher_);
    alarm_.reset();
    if (stopped_ || due_ == absl::InfiniteDuration()) return nullptr;
    if (due_ > Elapsed()) {
      Arm(std::move(dispatcher));
      return nullptr;
    }
    due_ = absl::InfiniteDuration();
  }
  on_time_();
  return nullptr;
}

void Timer::Arm(std::shared_ptr<Dispatcher> dispatcher) {
  dispatcher_ = std::move(dispatcher);
  armed_for_ = due_;
  self_ = shared_from_this();
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(dispatcher_->queue(), FromNow(due_ - Elapsed()), this);
}

}  // namespace mayfly::client
