// Blocking and future forms of methods that take a callback.
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <utility>

#include "client/core.h"

namespace mayfly::client {

// Runs `start` with a callback, and waits for the value that the callback gets.
template <typename T, typename Start>
T Await(const Core& core, Start start) {
  core.CheckMayWait();
  struct Slot {
    std::optional<T> value;
    std::atomic<bool> is_set = false;
  };
  // Shared: the thread that sets it may not have returned when the waiting thread continues.
  auto slot = std::make_shared<Slot>();
  start([slot](T value) {
    slot->value.emplace(std::move(value));
    slot->is_set.store(true, std::memory_order_release);
    slot->is_set.notify_one();
  });
  slot->is_set.wait(false, std::memory_order_acquire);
  return *std::move(slot->value);
}

// Runs `start` with a callback that fulfils the future.
template <typename T, typename Start>
std::future<T> FutureOf(Start start) {
  auto promise = std::make_shared<std::promise<T>>();
  std::future<T> future = promise->get_future();
  start([promise](T value) { promise->set_value(std::move(value)); });
  return future;
}

}  // namespace mayfly::client
