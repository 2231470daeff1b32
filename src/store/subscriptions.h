// Subscriptions connects each Subscription with the shards of its calls, and delivers what they claim.
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

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
  Subscriptions(const StoreContext& context, Router* router, Claims* claims)
      : context_(context), router_(*router), claims_(*claims) {}

  // See CallStore.
  std::shared_ptr<Subscription> Subscribe(Tenant* tenant, const SubscribeRequest& request,
                                          Callback<Delivery> on_delivery);

 private:
  size_t Register(const std::shared_ptr<Subscription>& subscription,
                  const std::vector<CallId>& call_ids) override;
  void Unregister(const std::shared_ptr<Subscription>& subscription,
                  const std::vector<CallId>& call_ids) override;
  void Recheck(const Tenant& tenant, const std::vector<CallId>& call_ids) override;
  void ScheduleDelivery(std::shared_ptr<Subscription> subscription) override;
  void Release(const std::shared_ptr<Subscription>& subscription,
               const std::vector<CallId>& call_ids) override;
  void OnAllReleased(absl::AnyInvocable<void()> done) override;
  void Deliver(const std::shared_ptr<Subscription>& subscription, Subscription::News news);

  const StoreContext& context_;
  Router& router_;
  Claims& claims_;
};

}  // namespace mayfly
