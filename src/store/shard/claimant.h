// A Claimant waits to claim the outputs of calls. A Poll is answered once; a Subscription lives on.
//
// A shard offers a call to a claimant when the claimant registers for it, and again whenever something
// has become of the call, until the claimant has taken an output or an end. The claimant's mutex is
// held from the look at a call until its claim is made, which orders the claim with other shards and
// with the claimant's own end: so every claim that is made is one that the claimant reports.
#pragma once

#include <cstdint>
#include <utility>

#include "absl/status/status.h"

#include "base/mutex.h"
#include "call/operation.h"
#include "store/tenant.h"

namespace mayfly {

// A call that a claimant waits for, and its place in the request.
struct WantedCall {
  uint32_t index = 0;
  CallKey key;
};

struct NewClaim {
  WantedCall call;
  StoredPayload payload;
  Claim claim;
  int64_t lease_end_ms = 0;  // on steady time
};

struct NewEnd {
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

  // Called by shards, which hold the mutex while they look at a call and claim its output. After
  // false the call is offered again when something becomes of it.

  // Whether the claimant still waits for the call. When it does not, the shard forgets the wait.
  virtual bool Wants(const WantedCall& call) REQUIRES_LOCK(mutex_) = 0;
  // The output can be claimed: whether the claimant takes it now.
  virtual bool TakesOutput(const WantedCall& call, uint64_t size_bytes) REQUIRES_LOCK(mutex_) = 0;
  // The call has ended. False when the claimant cannot take that now.
  virtual bool TakeEnd(NewEnd end) REQUIRES_LOCK(mutex_) = 0;
  // The call has no output, or another token has claimed it.
  virtual void OnPending(const WantedCall& call) REQUIRES_LOCK(mutex_) = 0;
  // The tenant's outstanding claims are at their limit. True when the shard is to call OnTimer in a
  // second.
  [[nodiscard]] virtual bool OnQuotaReached(const WantedCall& call, absl::Status status)
      REQUIRES_LOCK(mutex_) = 0;
  // The output is claimed.
  virtual void AddClaim(NewClaim claim) REQUIRES_LOCK(mutex_) = 0;

  // Called by shards, which do not hold the mutex.

  // All calls of a registration have been looked at.
  virtual void OnRegistered() EXCLUDES_LOCK(mutex_) = 0;
  // Calls that it waits for have been offered again.
  virtual void OnOffered() EXCLUDES_LOCK(mutex_) = 0;
  // The wait is over, or a second has passed since OnQuotaReached. True to be called again in a
  // second.
  [[nodiscard]] virtual bool OnTimer() EXCLUDES_LOCK(mutex_) = 0;
  // The shard does not wait for it any more: the store drains (OK) or has failed.
  virtual void Stop(const absl::Status& failure) EXCLUDES_LOCK(mutex_) = 0;
  // The shard has forgotten it and released the claims that it held.
  virtual void OnReleased() EXCLUDES_LOCK(mutex_) = 0;

 protected:
  Mutex mutex_;

 private:
  const ClaimTerms terms_;
};

}  // namespace mayfly
