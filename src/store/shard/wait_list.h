// A WaitList knows which claimants wait for which calls of a shard, and when their waits end.
//
// A call is woken when something has become of it, and is then served: offered to those that wait for
// it, in the order in which they came. A claimant has one timer at a time in each shard.
//
// Add, Wake and the timers are O(1); Remove and Serve cost the waiters of their call. Owns no thread
// and reads no clock: times are elapsed time, in milliseconds. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"

#include "call/state.h"
#include "retention/timer_wheel.h"
#include "store/shard/claimant.h"

namespace mayfly {

struct Waiter {
  std::shared_ptr<Claimant> claimant;
  uint32_t index = 0;  // of the call in the claimant's request
};

class WaitList {
 public:
  // How many timers one TakeDue hands out.
  static constexpr size_t kTimersMax = 4096;

  explicit WaitList(int64_t start_ms) : wheel_({.start_ms = start_ms}) {}

  void Add(const CallKey& key, Waiter waiter);
  // Removes the claimant's waits for the call, but for the first one when `keeps_one`.
  void Remove(const CallKey& key, const Claimant* claimant, bool keeps_one);
  // Removes the waits for the call, or all there are. Returns the claimants, one for each wait.
  std::vector<std::shared_ptr<Claimant>> TakeAll(const CallKey& key);
  std::vector<std::shared_ptr<Claimant>> TakeAll();

  // Has the call served with the next group. Does nothing when nobody waits for it.
  void Wake(const CallKey& key);
  const std::vector<CallKey>& woken() const { return woken_; }
  std::vector<CallKey> TakeWoken();
  // Offers the call to all that wait for it, and removes those for which `offer` returns true.
  void Serve(const CallKey& key, absl::FunctionRef<bool(const Waiter&)> offer);

  // Starts the claimant's timer, in place of the one before. The timer does not keep it alive.
  void StartTimer(const std::shared_ptr<Claimant>& claimant, int64_t due_ms);
  void CancelTimer(const Claimant* claimant);
  // The claimants that are alive and whose timers are due, up to kTimersMax at a time.
  std::vector<std::shared_ptr<Claimant>> TakeDue(int64_t now_ms);
  bool has_timers() const { return wheel_.size() > 0; }

 private:
  struct Timer {
    uint64_t number = 0;
    TimerWheel::Handle handle;
  };
  struct Timed {
    const Claimant* claimant = nullptr;  // as the key of timer_by_claimant_ only
    std::weak_ptr<Claimant> alive;
  };
  // Most calls are waited for by one.
  using Waiters = absl::InlinedVector<Waiter, 1>;

  absl::flat_hash_map<CallKey, Waiters> waiters_;
  std::vector<CallKey> woken_;
  TimerWheel wheel_;  // of timers' numbers
  uint64_t last_timer_ = 0;
  absl::flat_hash_map<uint64_t, Timed> claimant_by_timer_;
  absl::flat_hash_map<const Claimant*, Timer> timer_by_claimant_;  // not to be dereferenced
};

}  // namespace mayfly
