// The operations that a Cancellation cancels.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "base/mutex.h"
#include "mayfly/cancellation.h"

namespace mayfly::client {

class Dispatcher;
class Operation;

// Thread-safe.
class Cancellation::State {
 public:
  static constexpr uint64_t kCancelled = 0;

  // Has `operation` cancelled, on the thread of `dispatcher`. Returns the id that Remove takes, or
  // kCancelled when it is too late; then the caller cancels the operation itself.
  uint64_t Add(std::weak_ptr<Dispatcher> dispatcher, std::weak_ptr<Operation> operation)
      EXCLUDES_LOCK(mutex_);
  void Remove(uint64_t id) EXCLUDES_LOCK(mutex_);
  void Cancel() EXCLUDES_LOCK(mutex_);
  bool IsCancelled() EXCLUDES_LOCK(mutex_);

 private:
  // Nothing is owned: the last reference to a core must not be dropped by a thread that cancels.
  struct Registered {
    std::weak_ptr<Dispatcher> dispatcher;
    std::weak_ptr<Operation> operation;
  };

  Mutex mutex_;
  bool cancelled_ GUARDED_BY(mutex_) = false;
  uint64_t next_id_ GUARDED_BY(mutex_) = kCancelled + 1;
  std::map<uint64_t, Registered> registered_ GUARDED_BY(mutex_);
};

inline bool IsCancelled(const std::optional<Cancellation>& cancellation) {
  return cancellation.has_value() && cancellation->IsCancelled();
}

}  // namespace mayfly::client
