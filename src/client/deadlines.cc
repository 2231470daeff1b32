#include "client/deadlines.h"

#include <utility>

#include "client/time_budget.h"

namespace mayfly::client {

Deadlines::Set::Key Deadlines::Add(absl::Duration due, std::weak_ptr<Listener> listener) {
  MutexLock lock(&mutex_);
  const Set::Key key = set_.Add(due, std::move(listener));
  if (alarm_ == nullptr) {
    Arm();
  } else if (due < armed_for_) {
    armed_for_ = due;
    alarm_->Cancel();  // its completion sets an alarm for the new time
  }
  return key;
}

void Deadlines::Remove(const Set::Key& key) {
  // The alarm stays: deadlines that are removed early would otherwise cost an alarm each.
  MutexLock lock(&mutex_);
  set_.Remove(key);
}

void Deadlines::Close() {
  MutexLock lock(&mutex_);
  closed_ = true;
  set_.Clear();
  if (alarm_ != nullptr) alarm_->Cancel();
}

Completion::Then Deadlines::OnCompletion(bool) {
  std::shared_ptr<Deadlines> self;
  std::shared_ptr<Dispatcher> dispatcher;
  size_t left = 0;
  {
    MutexLock lock(&mutex_);
    self = std::move(armed_self_);
    dispatcher = std::move(armed_dispatcher_);
    alarm_.reset();
    left = set_.size();
  }
  while (const std::shared_ptr<Listener> listener = TakeDue(&left)) listener->OnDeadline();
  MutexLock lock(&mutex_);
  if (alarm_ == nullptr) Arm();
  return nullptr;
}

// Null when nothing is due. `left` bounds one round: a listener that sets itself a deadline that is
// due already must not keep the thread.
std::shared_ptr<Deadlines::Listener> Deadlines::TakeDue(size_t* left) {
  const absl::Duration now = Elapsed();
  MutexLock lock(&mutex_);
  for (; *left > 0; --*left) {
    const std::optional<std::weak_ptr<Listener>> due = set_.TakeDue(now);
    if (!due.has_value()) return nullptr;
    if (std::shared_ptr<Listener> listener = due->lock()) {
      --*left;
      return listener;
    }
  }
  return nullptr;
}

void Deadlines::Arm() {
  const absl::Duration due = set_.Earliest();
  if (closed_ || due == absl::InfiniteDuration()) return;
  armed_dispatcher_ = dispatcher_.lock();
  if (armed_dispatcher_ == nullptr) return;
  armed_for_ = due;
  armed_self_ = shared_from_this();
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(armed_dispatcher_->queue(), FromNow(due - Elapsed()), static_cast<Completion*>(this));
}

void Deadline::Set(absl::Duration due, std::weak_ptr<Deadlines::Listener> listener) {
  Clear();
  if (due < absl::InfiniteDuration()) key_ = deadlines_->Add(due, std::move(listener));
}

void Deadline::SetNoLaterThan(absl::Duration due, std::weak_ptr<Deadlines::Listener> listener) {
  if (!key_.has_value() || due < key_->due) Set(due, std::move(listener));
}

void Deadline::Clear() {
  if (!key_.has_value()) return;
  deadlines_->Remove(*key_);
  key_.reset();
}

}  // namespace mayfly::client
