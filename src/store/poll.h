// A Poll is one ClaimOutputs request: it visits the shards of its calls once, claims what is there,
// and if nothing was, waits with them for the first output to come or call to end.
//
// Shared by its shards, by the wheel entry that ends its wait, and by the RPC that may cancel it.
// It answers exactly once; a shard claims for it only under its mutex and only while it has not
// answered, so that no claim is made that nobody hears of.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "base/mutex.h"
#include "call/operation.h"
#include "store/tenant.h"

namespace mayfly {

// A call of a poll, and its place in the request.
struct PollCall {
  uint32_t index = 0;
  CallKey key;
};

struct PollOptions {
  Tenant* tenant = nullptr;
  ClaimToken token{};
  TokenHash token_hash{};
  int64_t lease_ms = 0;
  int64_t wait_until_ms = 0;  // steady time; 0: does not wait
  uint32_t count_max = 0;
  uint64_t bytes_max = 0;
  uint32_t call_count = 0;
  uint32_t shard_count = 0;  // shards to visit
};

struct PollOutput {
  PollCall call;
  StoredPayload payload;
  Claim claim;
};

struct PollEnd {
  PollCall call;
  absl::Status status;
};

struct PollAnswer {
  absl::Status status;
  std::vector<PollOutput> outputs;  // in the order of the request, as ended is
  std::vector<PollEnd> ended;
  uint32_t pending_count = 0;
};

class Poll {
 public:
  Poll(PollOptions options, absl::AnyInvocable<void(PollAnswer)> done)
      : options_(options), done_(std::move(done)), shards_left_(options.shard_count) {}

  const PollOptions& options() const { return options_; }
  bool waits() const { return options_.wait_until_ms != 0; }

  Mutex* mutex() { return &mutex_; }

  // The following are for shards, which hold the mutex while they look and claim.

  bool answered() const REQUIRES_LOCK(mutex_) { return answered_; }
  // Whether an output of this size may be claimed. The first always may.
  bool HasRoomFor(uint64_t size_bytes) const REQUIRES_LOCK(mutex_);
  void AddOutput(PollOutput output) REQUIRES_LOCK(mutex_);
  void AddEnd(PollEnd end) REQUIRES_LOCK(mutex_);
  // The tenant's outstanding claims are at their limit.
  void Refuse(absl::Status status) REQUIRES_LOCK(mutex_);

  // A shard has looked at all of its calls.
  void ShardVisited() EXCLUDES_LOCK(mutex_);
  // Answers when there is something to tell and all shards were visited.
  void AnswerIfReady() EXCLUDES_LOCK(mutex_);
  // Answers with what there is: the wait is over, or the store is going away (`status`).
  void Answer(absl::Status status) EXCLUDES_LOCK(mutex_);
  // Gives up without an answer to tell; returns the claims to release. Empty when it had answered.
  std::vector<PollOutput> Cancel() EXCLUDES_LOCK(mutex_);

 private:
  bool IsReady() const REQUIRES_LOCK(mutex_);
  PollAnswer TakeAnswer(absl::Status status) REQUIRES_LOCK(mutex_);

  const PollOptions options_;
  absl::AnyInvocable<void(PollAnswer)> done_;
  Mutex mutex_;
  uint32_t shards_left_ GUARDED_BY(mutex_);
  bool answered_ GUARDED_BY(mutex_) = false;
  uint64_t output_bytes_ GUARDED_BY(mutex_) = 0;
  absl::Status refusal_ GUARDED_BY(mutex_);
  std::vector<PollOutput> outputs_ GUARDED_BY(mutex_);
  std::vector<PollEnd> ended_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
