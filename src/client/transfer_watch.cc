#include "client/transfer_watch.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/mutex.h"
#include "client/time_budget.h"
#include "client/timer.h"

namespace mayfly::client {

struct TransferWatch::State {
  void End(bool by_caller) EXCLUDES_LOCK(mutex) {
    MutexLock lock(&mutex);
    cancelled = cancelled || by_caller;
    expired = expired || !by_caller;
    if (context != nullptr) context->TryCancel();
    changed.NotifyAll();
  }

  absl::Duration Left() EXCLUDES_LOCK(mutex) {
    MutexLock lock(&mutex);
    return std::max(absl::ZeroDuration(), end - callers_turn.value_or(Elapsed()));
  }

  absl::Duration timeout;
  bool is_total = false;  // `timeout` is not counted anew
  std::shared_ptr<Timer> timer;

  Mutex mutex;
  ConditionVariable changed;
  absl::Duration end GUARDED_BY(mutex);
  std::optional<absl::Duration> callers_turn GUARDED_BY(mutex);  // since when
  bool cancelled GUARDED_BY(mutex) = false;
  bool expired GUARDED_BY(mutex) = false;
  grpc::ClientContext* context GUARDED_BY(mutex) = nullptr;
};

TransferWatch::TransferWatch(std::shared_ptr<Core> core, const CallOptions& options)
    : core_(std::move(core)), state_(std::make_shared<State>()) {
  state_->is_total = options.timeout > absl::ZeroDuration();
  state_->timeout = state_->is_total ? options.timeout : core_->options().timeout;
  state_->end = Elapsed() + state_->timeout;
  std::weak_ptr<State> weak = state_;
  std::weak_ptr<Dispatcher> weak_dispatcher = core_->dispatcher();
  state_->timer = std::make_shared<Timer>([weak, weak_dispatcher] {
    const auto state = weak.lock();
    const auto dispatcher = weak_dispatcher.lock();
    if (state == nullptr || dispatcher == nullptr) return;
    const absl::Duration left = state->Left();
    if (left <= absl::ZeroDuration()) return state->End(/*by_caller=*/false);
    state->timer->SetNoLaterThan(dispatcher, Elapsed() + left);
  });
  state_->timer->SetNoLaterThan(core_->dispatcher(), state_->end);
  hook_ = CancellationHook(options.cancellation, [weak] {
    if (const auto state = weak.lock()) state->End(/*by_caller=*/true);
  });
}

TransferWatch::~TransferWatch() { state_->timer->Stop(); }

void TransferWatch::Attach(grpc::ClientContext* context) {
  MutexLock lock(&state_->mutex);
  state_->context = context;
  if (context != nullptr && (state_->cancelled || state_->expired)) context->TryCancel();
}

void TransferWatch::OnProgress() {
  MutexLock lock(&state_->mutex);
  if (!state_->is_total) state_->end = Elapsed() + state_->timeout;
}

void TransferWatch::BeginCallersTurn() {
  MutexLock lock(&state_->mutex);
  if (!state_->is_total) state_->callers_turn = Elapsed();
}

void TransferWatch::EndCallersTurn() {
  MutexLock lock(&state_->mutex);
  if (!state_->callers_turn.has_value()) return;
  state_->end += Elapsed() - *state_->callers_turn;
  state_->callers_turn.reset();
}

absl::Duration TransferWatch::Left() const { return state_->Left(); }

absl::Status TransferWatch::Pause(absl::Duration pause) {
  const absl::Duration until = Elapsed() + pause;
  {
    MutexLock lock(&state_->mutex);
    while (!state_->cancelled && !state_->expired && Elapsed() < until) {
      state_->changed.WaitFor(&state_->mutex, until - Elapsed());
    }
  }
  return Verdict(absl::OkStatus());
}

absl::Status TransferWatch::Verdict(const absl::Status& status) const {
  MutexLock lock(&state_->mutex);
  if (state_->cancelled) return CancelledByCaller();
  if (!state_->expired) return status;
  return absl::DeadlineExceededError(absl::StrCat("no ", state_->is_total ? "answer" : "progress",
                                                  " within ",
                                                  absl::FormatDuration(state_->timeout)));
}

}  // namespace mayfly::client
