// The Failure decides what ends the process. Everything in the store reports its errors of writes and
// syncs here.
//
//   kind (storage/storage_error.h)   what follows
//   kFailed, or none                 the process ends, and recovers from what is really there
//   kFenced, kUncertain              the shard that met it is dropped (store/shard/shard.h)
//   kUnreadable                      the calls it was for are refused
//
// Report hands the first failure that ends the process on and returns, so that its caller can still
// answer STORAGE_DOWN to those that wait; further ones are dropped. Thread-safe.
#pragma once

#include <atomic>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "storage/storage_error.h"

namespace mayfly {

class Failure {
 public:
  using OnFatal = absl::AnyInvocable<void(const absl::Status&)>;

  // `on_fatal` is called at most once, from any thread.
  explicit Failure(OnFatal on_fatal) : on_fatal_(std::move(on_fatal)) {}

  // OK is no failure.
  void Report(const absl::Status& status) {
    if (status.ok() || KindOf(status) != StorageErrorKind::kFailed) return;
    if (!reported_.exchange(true)) on_fatal_(status);
  }

 private:
  std::atomic<bool> reported_{false};
  OnFatal on_fatal_;
};

}  // namespace mayfly
