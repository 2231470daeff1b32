// A Subscription is what a stream waits for: many calls, whose outputs are claimed as they become
// ready, as far as there is credit, and told to its owner.
//
//   waiting --> (ready, but there is no credit, no room or no quota) --> told, and over
//
// Each call is told once, as an output or as an ended call. A call that cannot be told yet keeps
// its place in the order in which it was seen, and is looked at again when credit, room or quota
// come, not before: so waiting costs nothing but memory. What it holds and is asked for again is
// told again, under the same claim; that needs no quota, but may have its place behind those that
// do.
//
//   bounded by         what                                     comes back with
//   credit             outputs, and bytes of their payloads     Grant
//   room               512 outputs and ended calls, 4 MiB       Sent
//   quota              claims.outstanding_max of the tenant     an ack or release (Retry), or a look
//                                                               every second while it is so blocked
//
// Its claims are made with its token and are its own: every shard releases those it holds when it
// takes note of the End, in a group in which no further one is made for it.
//
// Waiting for a call takes a place in a hash table here and in one of its shard, 24 and 56 bytes a
// place: bench/README.md has what comes of it.
//
// Thread-safe. To be let go of before the store is.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "base/call_id.h"
#include "store/claimant.h"
#include "store/claimed_output.h"
#include "store/leaving_payload.h"

namespace mayfly {

class Subscription;

// What a Subscription needs of the store.
class SubscriptionHost {
 public:
  virtual ~SubscriptionHost() = default;
  // How many visits come of it.
  virtual size_t VisitCalls(const std::shared_ptr<Subscription>& subscription,
                            const std::vector<CallId>& call_ids) = 0;
  virtual void ForgetCalls(const std::shared_ptr<Subscription>& subscription,
                           const std::vector<CallId>& call_ids) = 0;
  // Offers them again to all who wait for them.
  virtual void OfferCalls(const Tenant& tenant, const std::vector<CallId>& call_ids) = 0;
  // There is news: to be taken, read and told.
  virtual void TellNews(std::shared_ptr<Subscription> subscription) = 0;
  // Each shard is to forget all of it and say so.
  virtual void ReleaseAll(const std::shared_ptr<Subscription>& subscription,
                          const std::vector<CallId>& call_ids) = 0;
  // They all have.
  virtual void AllReleased(absl::AnyInvocable<void()> done) = 0;
};

struct SubscriptionLimits {
  uint64_t bytes_max = 0;    // larger outputs are told without their payload
  uint64_t calls_max = 0;    // waited for at once
  uint32_t shard_count = 0;  // of the store
  PayloadTaker* taker = nullptr;
};

// What the owner is told at a time.
struct Told {
  std::vector<ClaimedOutput> outputs;
  std::vector<EndedCall> ended;
  // Not OK: the last that is told; the store drains, or has failed.
  absl::Status status;
};

class Subscription final : public Claimant, public std::enable_shared_from_this<Subscription> {
 public:
  // How much may be told and not yet be sent.
  static constexpr int64_t kUnsentItemsMax = 512;
  static constexpr int64_t kUnsentBytesMax = 4 << 20;
  // How many visits to shards may be under way before it is behind.
  static constexpr int64_t kVisitsMax = 64;

  // on_told is called on one thread at a time, in order.
  Subscription(SubscriptionHost* host, const ClaimTerms& terms, const SubscriptionLimits& limits,
               absl::AnyInvocable<void(Told)> on_told)
      : Claimant(terms),
        host_(host),
        limits_(limits),
        on_told_(std::move(on_told)),
        shards_left_(limits.shard_count) {}

  // For the owner.

  // Waits for these, too; what is waited for already counts once. False when that would be more than
  // calls_max: then it waits for none of the new ones.
  [[nodiscard]] bool Add(const std::vector<CallId>& call_ids) EXCLUDES_LOCK(mutex_);
  // Whether the shards have so many calls to look at that more had better wait: they queue up.
  bool IsBehind() EXCLUDES_LOCK(mutex_);
  // What is on its way may still be told.
  void Remove(const std::vector<CallId>& call_ids) EXCLUDES_LOCK(mutex_);
  void Grant(uint64_t item_count, uint64_t bytes) EXCLUDES_LOCK(mutex_);
  // What was told has left: outputs and ended calls, and bytes of payloads.
  void Sent(uint64_t item_count, uint64_t bytes) EXCLUDES_LOCK(mutex_);
  // Claims of the tenant have ended.
  void Retry() EXCLUDES_LOCK(mutex_);
  // Nothing more is claimed; what was is still told, and then `why`.
  void Stop(const absl::Status& why) override EXCLUDES_LOCK(mutex_);
  // Forgets all calls and releases all claims; what was not told yet is not told. `done` is called
  // when no claim of it is left. Once; on_told may just be running, and is dropped afterwards.
  void End(absl::AnyInvocable<void()> done) EXCLUDES_LOCK(mutex_);

  // For the host, which has one TellNews at a time.

  struct News {
    std::vector<MadeClaim> claimed;
    std::vector<CallEnd> ended;
    absl::Status stop;
  };
  // False when there is none; then the host leaves it at that.
  bool TakeNews(News* news) EXCLUDES_LOCK(mutex_);
  // `lost_bytes` are those of outputs that are told as ended calls instead.
  void Tell(Told told, uint64_t lost_count, uint64_t lost_bytes) EXCLUDES_LOCK(mutex_);
  uint64_t bytes_max() const { return limits_.bytes_max; }
  PayloadTaker* taker() const { return limits_.taker; }

  // For shards.

  bool Wants(const WantedCall& call) override REQUIRES_LOCK(mutex_);
  bool TakesOutput(const WantedCall& call, uint64_t size_bytes) override REQUIRES_LOCK(mutex_);
  bool TakesEnd(const WantedCall& call) override REQUIRES_LOCK(mutex_);
  void IsPending(const WantedCall& call) override REQUIRES_LOCK(mutex_);
  bool Refuse(const WantedCall& call, absl::Status status) override REQUIRES_LOCK(mutex_);
  void AddOutput(MadeClaim claim) override REQUIRES_LOCK(mutex_);
  void AddEnd(CallEnd end) override REQUIRES_LOCK(mutex_);
  void Visited() override EXCLUDES_LOCK(mutex_);
  void Offered() override EXCLUDES_LOCK(mutex_);
  bool TimerDue() override EXCLUDES_LOCK(mutex_);
  void Released() override EXCLUDES_LOCK(mutex_);

 private:
  // Calls that could be told, in the order in which that was seen.
  using Places = absl::btree_map<uint64_t, CallId>;

  void Postpone(const CallId& call_id, Places* places) REQUIRES_LOCK(mutex_);
  void LeavePlace(uint64_t* place) REQUIRES_LOCK(mutex_);
  void Forget(const CallId& call_id) REQUIRES_LOCK(mutex_);
  bool HasRoom() const REQUIRES_LOCK(mutex_);
  bool HasCredit() const REQUIRES_LOCK(mutex_);
  // How many more the tenant's quota would allow.
  int64_t QuotaLeft() const;
  // What has become tellable by a change of credit, room or quota.
  std::vector<CallId> CallsToOffer() const REQUIRES_LOCK(mutex_);
  // Whether the caller is to have the news told.
  bool BeginTelling() REQUIRES_LOCK(mutex_);

  SubscriptionHost* const host_;
  const SubscriptionLimits limits_;
  absl::AnyInvocable<void(Told)> on_told_;  // of who tells
  // The calls that are wanted, and their place in ready_ or ended_later_, 0 for none.
  absl::flat_hash_map<CallId, uint64_t> calls_ GUARDED_BY(mutex_);
  Places ready_ GUARDED_BY(mutex_);        // could be claimed
  Places ended_later_ GUARDED_BY(mutex_);  // have ended
  uint64_t last_place_ GUARDED_BY(mutex_) = 0;
  int64_t credit_items_ GUARDED_BY(mutex_) = 0;
  int64_t credit_bytes_ GUARDED_BY(mutex_) = 0;
  int64_t unsent_items_ GUARDED_BY(mutex_) = 0;
  int64_t unsent_bytes_ GUARDED_BY(mutex_) = 0;
  int64_t visit_count_ GUARDED_BY(mutex_) = 0;  // under way
  bool blocked_ GUARDED_BY(mutex_) = false;     // by the quota
  bool has_timer_ GUARDED_BY(mutex_) = false;
  std::vector<MadeClaim> claimed_ GUARDED_BY(mutex_);
  std::vector<CallEnd> ended_ GUARDED_BY(mutex_);
  bool telling_ GUARDED_BY(mutex_) = false;
  absl::Status stop_ GUARDED_BY(mutex_);
  bool stop_told_ GUARDED_BY(mutex_) = false;
  bool over_ GUARDED_BY(mutex_) = false;
  uint32_t shards_left_ GUARDED_BY(mutex_);
  absl::AnyInvocable<void()> released_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
