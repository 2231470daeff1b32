// A Poll is one ClaimOutputs request: it visits the shards of its calls once, claims what is there,
// and if nothing was, waits with them for the first output to come or call to end.
//
// Shared by its shards, by the wheel entry that ends its wait, and by the RPC that may cancel it.
// It answers exactly once; a shard claims for it only under its mutex and only while it has not
// answered, so that no claim is made that nobody hears of.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "store/claimant.h"

namespace mayfly {

struct PollLimits {
  uint32_t count_max = 0;
  uint64_t bytes_max = 0;
  uint32_t call_count = 0;
  uint32_t shard_count = 0;  // shards to visit
};

struct PollAnswer {
  absl::Status status;
  std::vector<MadeClaim> outputs;  // in the order of the request, as ended is
  std::vector<CallEnd> ended;
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
  bool TakesEnd(const WantedCall&) override REQUIRES_LOCK(mutex_) { return true; }
  void IsPending(const WantedCall&) override REQUIRES_LOCK(mutex_) {}
  bool Refuse(const WantedCall& call, absl::Status status) override REQUIRES_LOCK(mutex_);
  void AddOutput(MadeClaim claim) override REQUIRES_LOCK(mutex_);
  void AddEnd(CallEnd end) override REQUIRES_LOCK(mutex_);

  void Visited() override EXCLUDES_LOCK(mutex_);
  // Answers when there is something to tell and all shards were visited.
  void Offered() override EXCLUDES_LOCK(mutex_);
  bool TimerDue() override EXCLUDES_LOCK(mutex_);
  void Stop(const absl::Status& failure) override EXCLUDES_LOCK(mutex_) { Answer(failure); }
  void Released() override EXCLUDES_LOCK(mutex_) {}

  // Answers with what there is: the wait is over, or the store is going away (`status`).
  void Answer(absl::Status status) EXCLUDES_LOCK(mutex_);
  // Gives up without an answer to tell; returns the claims to release. Empty when it had answered.
  std::vector<MadeClaim> Cancel() EXCLUDES_LOCK(mutex_);

 private:
  bool IsReady() const REQUIRES_LOCK(mutex_);
  PollAnswer TakeAnswer(absl::Status status) REQUIRES_LOCK(mutex_);

  const PollLimits limits_;
  absl::AnyInvocable<void(PollAnswer)> done_;
  uint32_t shards_left_ GUARDED_BY(mutex_);
  bool answered_ GUARDED_BY(mutex_) = false;
  uint64_t output_bytes_ GUARDED_BY(mutex_) = 0;
  absl::Status refusal_ GUARDED_BY(mutex_);
  std::vector<MadeClaim> outputs_ GUARDED_BY(mutex_);
  std::vector<CallEnd> ended_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
