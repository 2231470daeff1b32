#include "client/operation.h"

#include "absl/strings/str_cat.h"

namespace mayfly::client {

absl::Status CancelledByCaller() { return absl::CancelledError("cancelled by the caller"); }

absl::Status NoAnswerWithin(absl::Duration timeout) {
  return absl::DeadlineExceededError(
      absl::StrCat("no answer within ", absl::FormatDuration(timeout)));
}

Operation::Operation(const Core& core)
    : dispatcher_(core.dispatcher()), deadline_(core.deadlines()) {}

Operation::~Operation() { Finish(); }

void Operation::CancelNow() {
  if (!IsFinished()) OnCancel();
}

bool Operation::IsFinished() {
  MutexLock lock(&mutex_);
  return finished_;
}

bool Operation::CancelWith(const std::optional<Cancellation>& cancellation) {
  if (!cancellation.has_value()) return true;
  {
    MutexLock lock(&mutex_);
    if (finished_) return true;
    cancellation_id_ = cancellation->state()->Add(dispatcher_, weak_from_this());
    if (cancellation_id_ != Cancellation::State::kCancelled) {
      cancellation_ = cancellation->state();
      return true;
    }
  }
  Post([self = shared_from_this()] { self->CancelNow(); });
  return false;
}

void Operation::SetDeadline(absl::Duration due) {
  MutexLock lock(&mutex_);
  if (!finished_) deadline_.Set(due, weak_from_this());
}

void Operation::ClearDeadline() {
  MutexLock lock(&mutex_);
  deadline_.Clear();
}

bool Operation::Finish() {
  MutexLock lock(&mutex_);
  if (finished_) return false;
  finished_ = true;
  deadline_.Clear();
  if (cancellation_ != nullptr) cancellation_->Remove(cancellation_id_);
  return true;
}

void Operation::Post(absl::AnyInvocable<void()> task) const {
  if (const auto dispatcher = dispatcher_.lock()) Dispatcher::Post(dispatcher, std::move(task));
}

}  // namespace mayfly::client
