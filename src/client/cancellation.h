// What a Cancellation and the operations that have it share.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "base/mutex.h"
#include "mayfly/cancellation.h"

namespace mayfly::client {

absl::Status CancelledByCaller();

// Thread-safe.
class Cancellation::State {
 public:
  // `hook` is called once, by whoever cancels, and may be called after Remove; now if that was
  // before. It must be quick and take no lock that is held while hooks are added or removed.
  uint64_t Add(absl::AnyInvocable<void()> hook) EXCLUDES_LOCK(mutex_);
  void Remove(uint64_t id) EXCLUDES_LOCK(mutex_);
  void Cancel() EXCLUDES_LOCK(mutex_);
  bool IsCancelled() EXCLUDES_LOCK(mutex_);

 private:
  Mutex mutex_;
  bool cancelled_ GUARDED_BY(mutex_) = false;
  uint64_t next_id_ GUARDED_BY(mutex_) = 1;
  std::map<uint64_t, absl::AnyInvocable<void()>> hooks_ GUARDED_BY(mutex_);
};

// Keeps a hook in place for as long as it lives.
class CancellationHook {
 public:
  CancellationHook() = default;
  // Nothing without a cancellation.
  CancellationHook(const std::optional<Cancellation>& cancellation,
                   absl::AnyInvocable<void()> hook);
  CancellationHook(CancellationHook&& other) noexcept;
  CancellationHook& operator=(CancellationHook&& other) noexcept;
  ~CancellationHook();

 private:
  std::shared_ptr<Cancellation::State> state_;
  uint64_t id_ = 0;
};

}  // namespace mayfly::client
