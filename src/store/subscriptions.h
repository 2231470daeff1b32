// Subscriptions connects each Subscription with the shards of its calls, and delivers what they
// claim.
//
// A client has one subscription after another with the same token, on one connection after another.
// The claims of the one pass to the next, so that a broken connection costs no claim:
//
//   the next is there already    with the end of the one
//   it comes within 5 s          then
//   none comes                   the claims are released, or nobody's if the client keeps them
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "base/mutex.h"
#include "call/operation.h"
#include "store/callback.h"
#include "store/claims.h"
#include "store/reads.h"
#include "store/router.h"
#include "store/subscription.h"

namespace mayfly {

struct SubscribeRequest {
  ClaimToken token{};
  int64_t lease_ms = 0;
  uint64_t bytes_max = 0;         // larger outputs come without their payload
  PayloadTaker* taker = nullptr;  // as in ClaimRequest; until End is done
};

class Subscriptions : private SubscriptionHost {
 public:
  static constexpr int64_t kSuccessorWaitMs = 5000;

  Subscriptions(const StoreContext& context, Router* router, Claims* claims)
      : context_(context), router_(*router), claims_(*claims) {}

  // See CallStore.
  std::shared_ptr<Subscription> Subscribe(Tenant* tenant, const SubscribeRequest& request,
                                          Callback<Delivery> on_delivery);
  // Lets go of the claims of subscriptions that have ended without a successor, in time.
  void EndWaits(int64_t elapsed_ms) EXCLUDES_LOCK(mutex_);

 private:
  using Owner = std::pair<const Tenant*, ClaimToken>;
  // A subscription that has ended, and waits for a successor.
  struct Parted {
    std::shared_ptr<Subscription> subscription;
    ClaimsAtEnd claims = ClaimsAtEnd::kAwait;
    int64_t until_ms = 0;  // elapsed time
  };

  static Owner OwnerOf(const Subscription& subscription) {
    return {subscription.terms().tenant, subscription.terms().token};
  }
  size_t Register(const std::shared_ptr<Subscription>& subscription,
                  const std::vector<CallId>& call_ids) override;
  void Unregister(const std::shared_ptr<Subscription>& subscription,
                  const std::vector<CallId>& call_ids) override;
  void Recheck(const Tenant& tenant, const std::vector<CallId>& call_ids) override;
  void ScheduleDelivery(std::shared_ptr<Subscription> subscription) override;
  void Part(const std::shared_ptr<Subscription>& subscription, const std::vector<CallId>& call_ids,
            ClaimsAtEnd claims) override EXCLUDES_LOCK(mutex_);
  // Every shard forgets the subscription and passes its claims on, or releases them.
  void PassOn(const std::shared_ptr<Subscription>& subscription, std::shared_ptr<Subscription> to);
  void Release(const std::shared_ptr<Subscription>& subscription,
               const std::vector<CallId>& call_ids);
  void OnAllReleased(absl::AnyInvocable<void()> done) override;
  void Deliver(const std::shared_ptr<Subscription>& subscription, Subscription::News news);

  const StoreContext& context_;
  Router& router_;
  Claims& claims_;

  Mutex mutex_;
  // The latest of each token that has not ended.
  absl::flat_hash_map<Owner, std::weak_ptr<Subscription>> latest_ GUARDED_BY(mutex_);
  std::deque<Parted> parted_ GUARDED_BY(mutex_);  // by until_ms
};

}  // namespace mayfly
