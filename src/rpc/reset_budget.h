// How many calls clients may reset (RST_STREAM, RFC 9113, section 6.4).
//
// A call that its client resets at once makes room for the next within the bound on calls of a
// connection, while gRPC has hardly begun with it: gRPC 1.51 queues what is left to do, without a
// bound, and works on it slower than the next ones come. Each costs 9 to 15 KiB until then, and what
// others ask for waits behind it. So resets have a rate, with a burst in which a client may cancel all
// that it has a few times over: on a connection, and for all connections of one address and of one
// tenant together, since a client can have many, and make new ones.
//
//   of                          burst   per second
//   a connection                1,000          200
//   an address, a tenant        4,000          800
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>

#include "absl/time/time.h"

#include "base/mutex.h"

namespace mayfly {

struct ResetRate {
  int64_t burst = 0;
  int64_t per_second = 0;
};

constexpr ResetRate kConnectionResets = {.burst = 1000, .per_second = 200};
constexpr ResetRate kPeerResets = {.burst = 4000, .per_second = 800};

// A token bucket. Its times do not go back. Not thread-safe.
class ResetBudget {
 public:
  explicit ResetBudget(const ResetRate& rate)
      : cost_(absl::Seconds(1) / rate.per_second), burst_(rate.burst * cost_) {}

  bool HasRoom(absl::Duration now) const { return Used(now) + cost_ <= burst_; }
  // One more, at `now`. False: it is beyond the budget, and nothing is taken.
  bool Take(absl::Duration now);
  // As if nothing had ever been taken.
  bool IsWhole(absl::Duration now) const { return whole_at_ <= now; }

 private:
  absl::Duration Used(absl::Duration now) const {
    return IsWhole(now) ? absl::ZeroDuration() : whole_at_ - now;
  }

  absl::Duration cost_;  // the time in which the budget grows by one
  absl::Duration burst_;
  absl::Duration whole_at_ = -absl::InfiniteDuration();
};

// The client of a connection.
struct ResetPeer {
  std::string address;  // as ConnectionPeer's; empty when it is not known
  std::string tenant;   // empty when the certificate names none
};

// The budgets that connections share. Holds one for each address and tenant that has reset calls in
// the last seconds. Thread-safe.
class SharedResetBudgets {
 public:
  // One more of this peer, at `now`. False: it is beyond the budget of its address or its tenant, and
  // nothing is taken.
  bool Take(const ResetPeer& peer, absl::Duration now) EXCLUDES_LOCK(mutex_);
  // How many were ever taken.
  uint64_t taken_count() const { return taken_count_.load(std::memory_order_relaxed); }
  size_t budget_count() const EXCLUDES_LOCK(mutex_);

 private:
  class Budgets {
   public:
    // Null for the empty name, which nobody shares.
    ResetBudget* Of(const std::string& name, absl::Duration now);
    size_t size() const { return by_name_.size(); }

   private:
    static constexpr size_t kForgetAtMin = 64;

    std::unordered_map<std::string, ResetBudget> by_name_;
    size_t forget_at_ = kForgetAtMin;  // the size at which those that are whole are left out
  };

  mutable Mutex mutex_;
  Budgets addresses_ GUARDED_BY(mutex_);
  Budgets tenants_ GUARDED_BY(mutex_);
  std::atomic<uint64_t> taken_count_{0};
};

}  // namespace mayfly
