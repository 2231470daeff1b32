// A Claimant is who wants the outputs of calls, as a Shard knows it: a Poll, which is answered once,
// or a Subscription, which lives on.
//
// A shard offers it a call when the call is brought (a visit) and whenever something has become of
// it, until it has been told, once, what that was. Everything between the look at a call and the
// claim is under the claimant's mutex, which orders it with other shards and with the claimant's own
// end: so no claim is made that nobody hears of.
#pragma once

#include <cstdint>
#include <utility>

#include "absl/status/status.h"

#include "base/mutex.h"
#include "call/operation.h"
#include "store/tenant.h"

namespace mayfly {

// A call that a claimant wants, and its place in the request.
struct WantedCall {
  uint32_t index = 0;
  CallKey key;
};

struct MadeClaim {
  WantedCall call;
  StoredPayload payload;
  Claim claim;
  int64_t lease_end_ms = 0;  // on steady time
};

struct CallEnd {
  WantedCall call;
  absl::Status status;
};

// What its claims are made with, and how long it waits for them.
struct ClaimTerms {
  Tenant* tenant = nullptr;
  ClaimToken token{};
  TokenHash token_hash{};
  int64_t lease_ms = 0;
  bool waits = false;
  int64_t wait_until_ms = 0;  // elapsed time; 0: without end
  // Its claims are its own: they are released with it.
  bool holds_claims = false;
};

class Claimant {
 public:
  explicit Claimant(const ClaimTerms& terms) : terms_(terms) {}
  virtual ~Claimant() = default;
  Claimant(const Claimant&) = delete;
  Claimant& operator=(const Claimant&) = delete;

  const ClaimTerms& terms() const { return terms_; }
  Mutex* mutex() { return &mutex_; }

  // For shards, which hold the mutex while they look and claim. Those that return false have the
  // call offered again when something becomes of it.

  // Whether the call is still to be told; when it is not, the shard forgets that it was wanted.
  virtual bool Wants(const WantedCall& call) REQUIRES_LOCK(mutex_) = 0;
  // The call can be claimed, or has ended: whether that can be told now.
  virtual bool TakesOutput(const WantedCall& call, uint64_t size_bytes) REQUIRES_LOCK(mutex_) = 0;
  virtual bool TakesEnd(const WantedCall& call) REQUIRES_LOCK(mutex_) = 0;
  // There is nothing to claim, or somebody else has.
  virtual void IsPending(const WantedCall& call) REQUIRES_LOCK(mutex_) = 0;
  // The tenant's outstanding claims are at their limit. True when the shard is to give a TimerDue
  // a second from now.
  [[nodiscard]] virtual bool Refuse(const WantedCall& call, absl::Status status)
      REQUIRES_LOCK(mutex_) = 0;
  virtual void AddOutput(MadeClaim claim) REQUIRES_LOCK(mutex_) = 0;
  virtual void AddEnd(CallEnd end) REQUIRES_LOCK(mutex_) = 0;

  // For shards, which do not hold it.

  // All calls of a visit have been looked at.
  virtual void Visited() EXCLUDES_LOCK(mutex_) = 0;
  // Calls that it waits for have been looked at again.
  virtual void Offered() EXCLUDES_LOCK(mutex_) = 0;
  // The wait is over, or a second since Refuse. True when another is wanted in a second.
  [[nodiscard]] virtual bool TimerDue() EXCLUDES_LOCK(mutex_) = 0;
  // The shard waits no longer: the store drains (OK) or has failed.
  virtual void Stop(const absl::Status& failure) EXCLUDES_LOCK(mutex_) = 0;
  // The shard has forgotten it and released what it held.
  virtual void Released() EXCLUDES_LOCK(mutex_) = 0;

 protected:
  Mutex mutex_;

 private:
  const ClaimTerms terms_;
};

}  // namespace mayfly
