// A Poll is one ClaimOutputs request. It registers with the shards of its calls once and claims the
// outputs that are ready. If there are none, it waits for the first output or end of a call.
//
// Owned together by its shards, by the timer that ends its wait, and by the RPC that may cancel it. It
// answers exactly once. A shard claims for it only under its mutex and only while it has not answered,
// so that every claim is in an answer.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "store/shard/claimant.h"

namespace mayfly {

struct PollLimits {
  uint32_t count_max = 0;
  uint64_t bytes_max = 0;
  uint32_t call_count = 0;
  uint32_t shard_count = 0;  // to register with
};

struct PollAnswer {
  absl::Status status;
  std::vector<NewClaim> outputs;  // in the order of the request, as ended is
  std::vector<NewEnd> ended;
  uint32_t pending_count = 0;
};

class Poll final : public Claimant {
 public:
  Poll(const ClaimTerms& terms, const PollLimits& limits, absl::AnyInvocable<void(PollAnswer)> done)
      : Claimant(terms),
        limits_(limits),
        done_(std::move(done)),
        shards_left_(limits.shard_count) {}

  bool Wants(const WantedCall& call) override REQUIRES_LOCK(mutex_);
  // The first always may.
  bool TakesOutput(const WantedCall& call, uint64_t size_bytes) override REQUIRES_LOCK(mutex_);
  bool TakeEnd(NewEnd end) override REQUIRES_LOCK(mutex_);
  void OnPending(const WantedCall&) override REQUIRES_LOCK(mutex_) {}
  bool OnQuotaReached(const WantedCall& call, absl::Status status) override REQUIRES_LOCK(mutex_);
  void AddClaim(NewClaim claim) override REQUIRES_LOCK(mutex_);

  void OnRegistered() override EXCLUDES_LOCK(mutex_);
  // Answers when there is something to report and all shards have looked at its calls.
  void OnOffered() override EXCLUDES_LOCK(mutex_);
  bool OnTimer() override EXCLUDES_LOCK(mutex_);
  void Stop(const absl::Status& failure) override EXCLUDES_LOCK(mutex_) { Answer(failure); }
  void OnReleased() override EXCLUDES_LOCK(mutex_) {}

  // Answers with what it has: the wait is over, or the store drains or has failed (`status`).
  void Answer(absl::Status status) EXCLUDES_LOCK(mutex_);
  // Answers CANCELLED, and returns the claims to release. Empty when it had answered.
  std::vector<NewClaim> Cancel() EXCLUDES_LOCK(mutex_);

 private:
  bool IsReady() const REQUIRES_LOCK(mutex_);
  PollAnswer TakeAnswer(absl::Status status) REQUIRES_LOCK(mutex_);

  const PollLimits limits_;
  absl::AnyInvocable<void(PollAnswer)> done_;
  uint32_t shards_left_ GUARDED_BY(mutex_);
  bool answered_ GUARDED_BY(mutex_) = false;
  uint64_t output_bytes_ GUARDED_BY(mutex_) = 0;
  absl::Status refusal_ GUARDED_BY(mutex_);
  std::vector<NewClaim> outputs_ GUARDED_BY(mutex_);
  std::vector<NewEnd> ended_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
