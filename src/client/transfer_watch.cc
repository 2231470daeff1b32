#include "client/transfer_watch.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "client/time_budget.h"

namespace mayfly::client {

std::shared_ptr<TransferWatch> TransferWatch::Start(const Core& core, const CallOptions& options) {
  auto watch = std::shared_ptr<TransferWatch>(new TransferWatch(core, options));
  if (!watch->CancelWith(options.cancellation)) watch->OnCancel();
  watch->SetDeadline(Elapsed() + watch->Left());
  return watch;
}

TransferWatch::TransferWatch(const Core& core, const CallOptions& options)
    : Operation(core),
      is_total_(options.timeout > absl::ZeroDuration()),
      timeout_(TimeoutOf(core, options)),
      end_(Elapsed() + timeout_) {}

void TransferWatch::Attach(grpc::ClientContext* context) {
  MutexLock lock(&mutex_);
  context_ = context;
  if (context != nullptr && IsOver()) context->TryCancel();
}

void TransferWatch::OnProgress() {
  MutexLock lock(&mutex_);
  if (!is_total_) end_ = Elapsed() + timeout_;
}

void TransferWatch::BeginCallersTurn() {
  MutexLock lock(&mutex_);
  if (!is_total_) callers_turn_ = Elapsed();
}

void TransferWatch::EndCallersTurn() {
  MutexLock lock(&mutex_);
  if (!callers_turn_.has_value()) return;
  end_ += Elapsed() - *callers_turn_;
  callers_turn_.reset();
}

absl::Duration TransferWatch::Left() {
  MutexLock lock(&mutex_);
  return std::max(absl::ZeroDuration(), end_ - callers_turn_.value_or(Elapsed()));
}

absl::Status TransferWatch::Pause(absl::Duration pause) {
  const absl::Duration until = Elapsed() + pause;
  {
    MutexLock lock(&mutex_);
    while (!IsOver() && Elapsed() < until) changed_.WaitFor(&mutex_, until - Elapsed());
  }
  return Verdict(absl::OkStatus());
}

absl::Status TransferWatch::Verdict(const absl::Status& status) {
  MutexLock lock(&mutex_);
  if (cancelled_) return CancelledByCaller();
  if (!expired_) return status;
  if (is_total_) return NoAnswerWithin(timeout_);
  return absl::DeadlineExceededError(
      absl::StrCat("no progress within ", absl::FormatDuration(timeout_)));
}

void TransferWatch::OnCancel() {
  MutexLock lock(&mutex_);
  cancelled_ = true;
  WakeUp();
}

// Progress may have moved the deadline.
void TransferWatch::OnDeadline() {
  const absl::Duration left = Left();
  if (left > absl::ZeroDuration()) return SetDeadline(Elapsed() + left);
  MutexLock lock(&mutex_);
  expired_ = true;
  WakeUp();
}

void TransferWatch::WakeUp() {
  if (context_ != nullptr) context_->TryCancel();
  changed_.NotifyAll();
}

}  // namespace mayfly::client
