// A Subscription waits for the outputs of many calls on behalf of a stream, its owner. It claims
// outputs as they become ready, as far as there is credit, and delivers them.
//
//   waiting --> (ready, but there is no credit, no room or no quota) --> delivered, and over
//
// Each call is delivered once, as an output or as an ended call. A call that cannot be delivered
// yet keeps its place in the order in which it became ready, and is offered again when credit, room
// or quota return, not before: waiting costs nothing but memory. A call that is added again while
// its claim is outstanding is delivered again, under the same claim. That needs no quota, but may
// queue behind calls that do.
//
//   bounded by         what                                     returns with
//   credit             outputs, and bytes of their payloads     Grant
//   room               512 outputs and ended calls, 4 MiB       Sent
//   quota              claims.outstanding_max of the tenant     an ack or release (Retry), or a check
//                                                               every second while it is blocked
//
// Its claims are made with its token and belong to it, until a successor has them
// (subscriptions.h). When it releases them, every shard does so in a group that makes no further
// claim for it.
//
// Waiting for a call takes a place in a hash table here and in one of its shard, 24 and 56 bytes a
// place: bench/README.md has the measurements.
//
// Thread-safe. Must be destroyed before the store.
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
#include "store/claimed_output.h"
#include "store/leaving_payload.h"
#include "store/shard/claimant.h"

namespace mayfly {

class Subscription;

// What becomes of a subscription's claims when it ends. Another subscription with its token, if
// there is one or comes within Subscriptions::kSuccessorWait, has them from then on.
enum class ClaimsAtEnd {
  kRelease,  // at once
  kKeep,     // without a successor they last for their leases
  kAwait,    // without a successor they are released
};

// What a Subscription needs of the store: the shards of its calls (shard/committer.h), and threads.
class SubscriptionHost {
 public:
  virtual ~SubscriptionHost() = default;
  // Returns with how many shards.
  virtual size_t Register(const std::shared_ptr<Subscription>& subscription,
                          const std::vector<CallId>& call_ids) = 0;
  virtual void Unregister(const std::shared_ptr<Subscription>& subscription,
                          const std::vector<CallId>& call_ids) = 0;
  // Offers the calls again to all that wait for them.
  virtual void Recheck(const Tenant& tenant, const std::vector<CallId>& call_ids) = 0;
  // There is news, to be taken, read and delivered on another thread.
  virtual void ScheduleDelivery(std::shared_ptr<Subscription> subscription) = 0;
  // The subscription waits for these calls no longer, and has ended. The host calls OnReleased once
  // for every shard.
  virtual void Part(const std::shared_ptr<Subscription>& subscription,
                    const std::vector<CallId>& call_ids, ClaimsAtEnd claims) = 0;
  // They all have. Calls `done` on another thread.
  virtual void OnAllReleased(absl::AnyInvocable<void()> done) = 0;
};

struct SubscriptionLimits {
  uint64_t bytes_max = 0;    // larger outputs are delivered without their payload
  uint32_t shard_count = 0;  // of the store
  PayloadTaker* taker = nullptr;
};

struct Delivery {
  std::vector<ClaimedOutput> outputs;
  std::vector<EndedCall> ended;
  // Not OK: this is the last delivery, since the store drains or has failed.
  absl::Status status;
};

class Subscription final : public Claimant, public std::enable_shared_from_this<Subscription> {
 public:
  // How much may be delivered and not yet sent.
  static constexpr int64_t kUnsentItemsMax = 512;
  static constexpr int64_t kUnsentBytesMax = 4 << 20;
  // How many registrations may be in flight before it is behind.
  static constexpr int64_t kRegistrationsMax = 64;

  // on_delivery is called on one thread at a time, in order.
  Subscription(SubscriptionHost* host, const ClaimTerms& terms, const SubscriptionLimits& limits,
               absl::AnyInvocable<void(Delivery)> on_delivery)
      : Claimant(terms),
        host_(host),
        limits_(limits),
        on_delivery_(std::move(on_delivery)),
        shards_left_(limits.shard_count) {}

  // For the owner.

  // Waits for these calls, too; one that it waits for already counts once. False when that would be
  // more than limits.stream_subscriptions_max: then it waits for none of the new ones.
  [[nodiscard]] bool Add(const std::vector<CallId>& call_ids) EXCLUDES_LOCK(mutex_);
  // The calls that it waits for.
  uint64_t call_count() EXCLUDES_LOCK(mutex_);
  // Whether so many registrations queue up at the shards that further ones should wait.
  bool IsBehind() EXCLUDES_LOCK(mutex_);
  // A call whose delivery is in flight may still be delivered.
  void Remove(const std::vector<CallId>& call_ids) EXCLUDES_LOCK(mutex_);
  void Grant(uint64_t item_count, uint64_t bytes) EXCLUDES_LOCK(mutex_);
  // So much of what was delivered has been sent: outputs and ended calls, and bytes of payloads.
  void Sent(uint64_t item_count, uint64_t bytes) EXCLUDES_LOCK(mutex_);
  // Claims of the tenant have ended.
  void Retry() EXCLUDES_LOCK(mutex_);
  // Nothing more is claimed. What is claimed is still delivered, and then `why`.
  void Stop(const absl::Status& why) override EXCLUDES_LOCK(mutex_);
  // Forgets all calls; nothing more is delivered. `done` is called when that and kRelease are done.
  // To be called once; on_delivery may be running, and is destroyed afterwards.
  void End(ClaimsAtEnd claims, absl::AnyInvocable<void()> done) EXCLUDES_LOCK(mutex_);

  // For the host, which makes one delivery at a time.

  struct News {
    std::vector<NewClaim> claimed;
    std::vector<NewEnd> ended;
    absl::Status stop;
  };
  // False when there is none; the host then waits for the next ScheduleDelivery.
  bool TakeNews(News* news) EXCLUDES_LOCK(mutex_);
  // `lost_count` and `lost_bytes` are those of outputs that are delivered as ended calls instead,
  // or not at all.
  void Deliver(Delivery delivery, uint64_t lost_count, uint64_t lost_bytes) EXCLUDES_LOCK(mutex_);
  // Calls whose claims were lost before their outputs were read, and which were lost outputs of a
  // delivery: waits for them anew.
  void WantAgain(const std::vector<CallId>& call_ids) EXCLUDES_LOCK(mutex_);
  uint64_t bytes_max() const { return limits_.bytes_max; }
  PayloadTaker* taker() const { return limits_.taker; }

  // For shards.

  bool Wants(const WantedCall& call) override REQUIRES_LOCK(mutex_);
  bool TakesOutput(const WantedCall& call, uint64_t size_bytes) override REQUIRES_LOCK(mutex_);
  bool TakeEnd(NewEnd end) override REQUIRES_LOCK(mutex_);
  void OnPending(const WantedCall& call) override REQUIRES_LOCK(mutex_);
  bool OnQuotaReached(const WantedCall& call, absl::Status status) override REQUIRES_LOCK(mutex_);
  void AddClaim(NewClaim claim) override REQUIRES_LOCK(mutex_);
  void OnRegistered() override EXCLUDES_LOCK(mutex_);
  void OnOffered() override EXCLUDES_LOCK(mutex_);
  bool OnTimer() override EXCLUDES_LOCK(mutex_);
  void OnReleased() override EXCLUDES_LOCK(mutex_);

 private:
  // Calls that could be delivered, in the order in which they became so.
  using Places = absl::btree_map<uint64_t, CallId>;

  // False, and nothing is added, when they are bounded and the limit of subscriptions forbids it.
  bool AddCalls(const std::vector<CallId>& call_ids, bool are_bounded) EXCLUDES_LOCK(mutex_);
  void Postpone(const CallId& call_id, Places* places) REQUIRES_LOCK(mutex_);
  void LeavePlace(uint64_t* place) REQUIRES_LOCK(mutex_);
  void Forget(const CallId& call_id) REQUIRES_LOCK(mutex_);
  bool HasRoom() const REQUIRES_LOCK(mutex_);
  bool HasCredit() const REQUIRES_LOCK(mutex_);
  // How many more the tenant's quota would allow.
  int64_t QuotaLeft() const;
  // The calls that a change of credit, room or quota has made deliverable.
  std::vector<CallId> CallsToRecheck() const REQUIRES_LOCK(mutex_);
  // Whether the caller is to schedule a delivery.
  bool BeginDelivery() REQUIRES_LOCK(mutex_);

  SubscriptionHost* const host_;
  const SubscriptionLimits limits_;
  absl::AnyInvocable<void(Delivery)> on_delivery_;  // of the thread that delivers
  // The calls that it waits for, and their place in ready_ or ended_later_, 0 for none.
  absl::flat_hash_map<CallId, uint64_t> calls_ GUARDED_BY(mutex_);
  Places ready_ GUARDED_BY(mutex_);        // could be claimed
  Places ended_later_ GUARDED_BY(mutex_);  // have ended
  uint64_t last_place_ GUARDED_BY(mutex_) = 0;
  int64_t credit_items_ GUARDED_BY(mutex_) = 0;
  int64_t credit_bytes_ GUARDED_BY(mutex_) = 0;
  int64_t unsent_items_ GUARDED_BY(mutex_) = 0;
  int64_t unsent_bytes_ GUARDED_BY(mutex_) = 0;
  int64_t registrations_ GUARDED_BY(mutex_) = 0;  // in flight
  bool blocked_ GUARDED_BY(mutex_) = false;       // by the quota
  bool has_timer_ GUARDED_BY(mutex_) = false;
  std::vector<NewClaim> claimed_ GUARDED_BY(mutex_);
  std::vector<NewEnd> ended_ GUARDED_BY(mutex_);
  bool delivering_ GUARDED_BY(mutex_) = false;
  absl::Status stop_ GUARDED_BY(mutex_);
  bool stop_delivered_ GUARDED_BY(mutex_) = false;
  bool over_ GUARDED_BY(mutex_) = false;
  uint32_t shards_left_ GUARDED_BY(mutex_);
  absl::AnyInvocable<void()> released_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
