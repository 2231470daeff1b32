// A Published value is read by many threads on hot paths and replaced now and then.
//
//   Published<Limits> limits(Limits{.calls_max = 10});
//   limits.Get().calls_max;                    // one load; never blocks, counts no references
//   limits.Set(Limits{.calls_max = 20});       // whole values only: no reader sees half of a change
//
// A reference from Get stays valid as long as the Published does: replaced values are kept. A value
// that is equal to a kept one is not stored again, so memory grows with the number of distinct values.
#pragma once

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace mayfly {

template <typename T>
class Published {
 public:
  explicit Published(T value) { Set(std::move(value)); }
  Published(const Published&) = delete;
  Published& operator=(const Published&) = delete;

  const T& Get() const { return *current_.load(std::memory_order_acquire); }

  void Set(T value) EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    const T* found = nullptr;
    for (const auto& kept : values_) {
      if (*kept == value) found = kept.get();
    }
    if (found == nullptr) {
      values_.push_back(std::make_unique<const T>(std::move(value)));
      found = values_.back().get();
    }
    current_.store(found, std::memory_order_release);
  }

 private:
  Mutex mutex_;
  std::vector<std::unique_ptr<const T>> values_ GUARDED_BY(mutex_);
  std::atomic<const T*> current_{nullptr};
};

}  // namespace mayfly
