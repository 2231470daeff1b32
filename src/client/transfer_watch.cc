#include "client/transfer_watch.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/mutex.h"
#include "client/operation.h"
#include "client/time_budget.h"

namespace mayfly::client {

class TransferWatch::State : public Operation {
 public:
  State(const Core& core, const CallOptions& options)
      : Operation(core),
        is_total_(options.timeout > absl::ZeroDuration()),
        timeout_(TimeoutOf(core, options)),
        end_(Elapsed() + timeout_) {}

  void Start(const std::optional<Cancellation>& cancellation) {
    if (!CancelWith(cancellation)) OnCancel();
    SetDeadline(Elapsed() + Left());
  }
  void Stop() { Finish(); }

  void Attach(grpc::ClientContext* context) EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    context_ = context;
    if (context != nullptr && IsOver()) context->TryCancel();
  }

  void OnProgress() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    if (!is_total_) end_ = Elapsed() + timeout_;
  }

  void BeginCallersTurn() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    if (!is_total_) callers_turn_ = Elapsed();
  }

  void EndCallersTurn() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    if (!callers_turn_.has_value()) return;
    end_ += Elapsed() - *callers_turn_;
    callers_turn_.reset();
  }

  absl::Duration Left() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    return std::max(absl::ZeroDuration(), end_ - callers_turn_.value_or(Elapsed()));
  }

  void Pause(absl::Duration pause) EXCLUDES_LOCK(mutex_) {
    const absl::Duration until = Elapsed() + pause;
    MutexLock lock(&mutex_);
    while (!IsOver() && Elapsed() < until) changed_.WaitFor(&mutex_, until - Elapsed());
  }

  absl::Status Verdict(const absl::Status& status) EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    if (cancelled_) return CancelledByCaller();
    if (!expired_) return status;
    if (is_total_) return NoAnswerWithin(timeout_);
    return absl::DeadlineExceededError(
        absl::StrCat("no progress within ", absl::FormatDuration(timeout_)));
  }

 private:
  void OnCancel() override EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    cancelled_ = true;
    WakeUp();
  }

  // The time may have been extended meanwhile.
  void OnDeadline() override EXCLUDES_LOCK(mutex_) {
    const absl::Duration left = Left();
    if (left > absl::ZeroDuration()) return SetDeadline(Elapsed() + left);
    MutexLock lock(&mutex_);
    expired_ = true;
    WakeUp();
  }

  bool IsOver() REQUIRES_LOCK(mutex_) { return cancelled_ || expired_; }
  void WakeUp() REQUIRES_LOCK(mutex_) {
    if (context_ != nullptr) context_->TryCancel();
    changed_.NotifyAll();
  }

  const bool is_total_;  // progress does not extend the timeout
  const absl::Duration timeout_;
  Mutex mutex_;
  ConditionVariable changed_;
  absl::Duration end_ GUARDED_BY(mutex_);
  std::optional<absl::Duration> callers_turn_ GUARDED_BY(mutex_);  // since when
  bool cancelled_ GUARDED_BY(mutex_) = false;
  bool expired_ GUARDED_BY(mutex_) = false;
  grpc::ClientContext* context_ GUARDED_BY(mutex_) = nullptr;
};

TransferWatch::TransferWatch(std::shared_ptr<Core> core, const CallOptions& options)
    : core_(std::move(core)), state_(std::make_shared<State>(*core_, options)) {
  state_->Start(options.cancellation);
}

TransferWatch::~TransferWatch() { state_->Stop(); }

void TransferWatch::Attach(grpc::ClientContext* context) { state_->Attach(context); }

void TransferWatch::OnProgress() { state_->OnProgress(); }

void TransferWatch::BeginCallersTurn() { state_->BeginCallersTurn(); }

void TransferWatch::EndCallersTurn() { state_->EndCallersTurn(); }

absl::Duration TransferWatch::Left() const { return state_->Left(); }

absl::Status TransferWatch::Pause(absl::Duration pause) {
  state_->Pause(pause);
  return state_->Verdict(absl::OkStatus());
}

absl::Status TransferWatch::Verdict(const absl::Status& status) const {
  return state_->Verdict(status);
}

}  // namespace mayfly::client
