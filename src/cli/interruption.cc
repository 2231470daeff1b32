#include "cli/interruption.h"

#include <utility>

namespace mayfly::cli {

void Interruption::Interrupt() {
  MutexLock lock(&mutex_);
  cancellation_.Cancel();
  if (action_) action_();
}

void Interruption::SetAction(std::function<void()> action) {
  MutexLock lock(&mutex_);
  action_ = std::move(action);
  if (action_ && IsInterrupted()) action_();
}

}  // namespace mayfly::cli
