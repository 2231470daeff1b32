// Waiting for what a callback brings.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "base/check.h"
#include "client/core.h"

namespace mayfly::client {

// Runs `start` with a callback, and waits for what it is called with.
template <typename T, typename Start>
T Await(const Core& core, Start start) {
  Check(!core.IsOwnThread(), "a callback of a client does not wait for the client");
  struct Slot {
    std::optional<T> value;
    std::atomic<bool> is_set = false;
  };
  // Shared: the thread that sets it may still be at work when the waiting one goes on.
  auto slot = std::make_shared<Slot>();
  start([slot](T value) {
    slot->value.emplace(std::move(value));
    slot->is_set.store(true, std::memory_order_release);
    slot->is_set.notify_one();
  });
  slot->is_set.wait(false, std::memory_order_acquire);
  return *std::move(slot->value);
}

}  // namespace mayfly::client
