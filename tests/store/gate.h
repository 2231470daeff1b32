// A Gate blocks threads in its hook until it is opened, and reports when a thread is blocked. The
// hook may outlive it.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"

#include "base/mutex.h"

namespace mayfly {

class Gate {
 public:
  std::function<absl::Status()> hook() const {
    return [state = state_] {
      MutexLock lock(&state->mutex);
      state->is_reached = true;
      state->changed.NotifyAll();
      while (!state->is_open) state->changed.Wait(&state->mutex);
      return absl::OkStatus();
    };
  }
  void WaitUntilReached() {
    MutexLock lock(&state_->mutex);
    while (!state_->is_reached) state_->changed.Wait(&state_->mutex);
  }
  void Open() {
    MutexLock lock(&state_->mutex);
    state_->is_open = true;
    state_->changed.NotifyAll();
  }

 private:
  struct State {
    Mutex mutex;
    ConditionVariable changed;
    bool is_reached = false;
    bool is_open = false;
  };
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace mayfly
