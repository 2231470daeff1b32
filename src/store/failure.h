// The Failure is where everything in the store reports what ends the process: a write or sync that
// failed, after which nobody knows what the disk holds. The process recovers from what is really
// there.
//
// Report hands the first failure on and returns, so that its caller can still answer STORAGE_DOWN to
// those that wait; further ones are dropped. Thread-safe.
#pragma once

#include <atomic>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

namespace mayfly {

class Failure {
 public:
  using OnFatal = absl::AnyInvocable<void(const absl::Status&)>;

  // `on_fatal` is called at most once, from any thread.
  explicit Failure(OnFatal on_fatal) : on_fatal_(std::move(on_fatal)) {}

  // OK is no failure.
  void Report(const absl::Status& status) {
    if (!status.ok() && !reported_.exchange(true)) on_fatal_(status);
  }

 private:
  std::atomic<bool> reported_{false};
  OnFatal on_fatal_;
};

}  // namespace mayfly
