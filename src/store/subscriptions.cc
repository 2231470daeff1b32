#include "store/subscriptions.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace mayfly {

std::shared_ptr<Subscription> Subscriptions::Subscribe(Tenant* tenant,
                                                       const SubscribeRequest& request,
                                                       Callback<Delivery> on_delivery) {
  const ClaimTerms terms{
      .tenant = tenant,
      .token = request.token,
      .token_hash = HashToken(request.token),
      .lease_ms = request.lease_ms,
      .waits = true,
      .holds_claims = true,
  };
  const SubscriptionLimits limits{
      .bytes_max = request.bytes_max,
      .shard_count = router_.shard_count(),
      .taker = request.taker,
  };
  SubscriptionHost* const host = this;
  auto subscription = std::make_shared<Subscription>(host, terms, limits, std::move(on_delivery));
  std::vector<std::shared_ptr<Subscription>> predecessors;
  {
    MutexLock lock(&mutex_);
    latest_[OwnerOf(*subscription)] = subscription;
    const auto is_its_own = [&](const Parted& parted) {
      return OwnerOf(*parted.subscription) == OwnerOf(*subscription);
    };
    for (Parted& parted : parted_) {
      if (is_its_own(parted)) predecessors.push_back(parted.subscription);
    }
    parted_.erase(std::remove_if(parted_.begin(), parted_.end(), is_its_own), parted_.end());
  }
  for (const auto& predecessor : predecessors) PassOn(predecessor, subscription);
  return subscription;
}

size_t Subscriptions::Register(const std::shared_ptr<Subscription>& subscription,
                               const std::vector<CallId>& call_ids) {
  if (router_.is_draining()) {
    subscription->Stop(DrainingError());
    return 0;
  }
  size_t count = 0;
  auto parts = router_.Partition(*subscription->terms().tenant, call_ids);
  for (uint32_t i = 0; i < router_.shard_count(); ++i) {
    if (parts[i].empty()) continue;
    ++count;
    router_.shard(i).Register(subscription, std::move(parts[i]));
  }
  return count;
}

void Subscriptions::Unregister(const std::shared_ptr<Subscription>& subscription,
                               const std::vector<CallId>& call_ids) {
  auto parts = router_.Partition(*subscription->terms().tenant, call_ids);
  for (uint32_t i = 0; i < router_.shard_count(); ++i) {
    if (!parts[i].empty()) router_.shard(i).Unregister(subscription, std::move(parts[i]));
  }
}

void Subscriptions::Recheck(const Tenant& tenant, const std::vector<CallId>& call_ids) {
  std::vector<std::vector<CallKey>> parts(router_.shard_count());
  for (const CallId& call_id : call_ids) {
    parts[router_.ShardOf(call_id)].push_back({.id = call_id, .tenant = tenant.number});
  }
  for (uint32_t i = 0; i < router_.shard_count(); ++i) {
    if (!parts[i].empty()) router_.shard(i).Recheck(std::move(parts[i]));
  }
}

void Subscriptions::Part(const std::shared_ptr<Subscription>& subscription,
                         const std::vector<CallId>& call_ids, ClaimsAtEnd claims) {
  std::shared_ptr<Subscription> successor;
  {
    MutexLock lock(&mutex_);
    const auto latest = latest_.find(OwnerOf(*subscription));
    if (latest != latest_.end()) successor = latest->second.lock();
    if (latest != latest_.end() && (successor == nullptr || successor == subscription)) {
      latest_.erase(latest);
      successor = nullptr;
    }
    if (claims != ClaimsAtEnd::kRelease && successor == nullptr) {
      parted_.push_back({.subscription = subscription,
                         .claims = claims,
                         .until_ms = context_.time.Read().elapsed_ms + kSuccessorWaitMs});
    }
  }
  if (claims == ClaimsAtEnd::kRelease) return Release(subscription, call_ids);
  if (!call_ids.empty()) Unregister(subscription, call_ids);
  if (successor != nullptr) PassOn(subscription, std::move(successor));
  router_.Begin();
  for (uint32_t i = 0; i < router_.shard_count(); ++i) subscription->OnReleased();
}

void Subscriptions::PassOn(const std::shared_ptr<Subscription>& subscription,
                           std::shared_ptr<Subscription> to) {
  for (uint32_t i = 0; i < router_.shard_count(); ++i) {
    router_.shard(i).PassOn(subscription, to);
  }
}

void Subscriptions::EndWaits(int64_t elapsed_ms) {
  std::vector<Parted> over;
  {
    MutexLock lock(&mutex_);
    while (!parted_.empty() && parted_.front().until_ms <= elapsed_ms) {
      over.push_back(std::move(parted_.front()));
      parted_.pop_front();
    }
  }
  for (const Parted& parted : over) {
    const bool keeps = parted.claims == ClaimsAtEnd::kKeep;
    if (keeps) {
      PassOn(parted.subscription, nullptr);
    } else {
      for (uint32_t i = 0; i < router_.shard_count(); ++i) {
        router_.shard(i).Release(parted.subscription, {});
      }
    }
  }
}

// Every shard, also one without calls that it waits for: it may hold claims.
void Subscriptions::Release(const std::shared_ptr<Subscription>& subscription,
                            const std::vector<CallId>& call_ids) {
  router_.Begin();
  auto parts = router_.Partition(*subscription->terms().tenant, call_ids);
  for (uint32_t i = 0; i < router_.shard_count(); ++i) {
    router_.shard(i).Release(subscription, std::move(parts[i]));
  }
}

void Subscriptions::OnAllReleased(absl::AnyInvocable<void()> done) {
  router_.RunLater(std::move(done));
  router_.End();
}

// One delivery at a time, so that outputs arrive in the order in which they were claimed. Other
// work runs between two.
void Subscriptions::ScheduleDelivery(std::shared_ptr<Subscription> subscription) {
  router_.RunLater([this, subscription = std::move(subscription)] {
    Subscription::News news;
    if (subscription->TakeNews(&news)) Deliver(subscription, std::move(news));
  });
}

void Subscriptions::Deliver(const std::shared_ptr<Subscription>& subscription,
                            Subscription::News news) {
  struct Job {
    Delivery delivery;
    uint64_t lost_count = 0;
    uint64_t lost_bytes = 0;
  };
  Tenant* const tenant = subscription->terms().tenant;
  auto job = std::make_shared<Job>();
  Delivery& delivery = job->delivery;
  delivery.status = std::move(news.stop);
  for (NewEnd& end : news.ended) {
    delivery.ended.push_back({.call_id = end.call.key.id, .status = std::move(end.status)});
  }
  const uint64_t bytes_max = subscription->bytes_max();
  Claims::ReadClaims read =
      claims_.ReadClaimed(tenant, news.claimed, bytes_max, subscription->taker());
  delivery.outputs = std::move(read.outputs);
  std::move(read.ended.begin(), read.ended.end(), std::back_inserter(delivery.ended));
  job->lost_count = news.claimed.size() - delivery.outputs.size();
  for (const NewClaim& claim : news.claimed) {
    if (claim.payload.size_bytes <= bytes_max) job->lost_bytes += claim.payload.size_bytes;
  }
  for (const ClaimedOutput& output : delivery.outputs) {
    if (output.payload.has_value()) job->lost_bytes -= output.stored.size_bytes;
  }
  claims_.ExplainMissing(tenant, read.missing, [this, subscription, job](Claims::Missing missing) {
    std::move(missing.ended.begin(), missing.ended.end(), std::back_inserter(job->delivery.ended));
    subscription->Deliver(std::move(job->delivery), job->lost_count, job->lost_bytes);
    if (!missing.lost.empty()) subscription->WantAgain(missing.lost);
    ScheduleDelivery(subscription);
  });
}

}  // namespace mayfly
