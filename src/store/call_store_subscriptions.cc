// The part of the CallStore that serves subscriptions.

#include <utility>

#include "store/call_store.h"

namespace mayfly {

std::shared_ptr<Subscription> CallStore::Subscribe(Tenant* tenant, const SubscribeRequest& request,
                                                   Callback<Told> on_told) {
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
      .calls_max = config_.limits.stream_subscriptions_max,
      .shard_count = static_cast<uint32_t>(shards_.size()),
      .taker = request.taker,
  };
  SubscriptionHost* const host = this;
  return std::make_shared<Subscription>(host, terms, limits, std::move(on_told));
}

size_t CallStore::VisitCalls(const std::shared_ptr<Subscription>& subscription,
                             const std::vector<CallId>& call_ids) {
  if (draining_) {
    subscription->Stop(DrainingError());
    return 0;
  }
  size_t count = 0;
  auto parts = PartByShard(*subscription->terms().tenant, call_ids);
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].empty()) continue;
    ++count;
    shards_[i]->Visit(subscription, std::move(parts[i]));
  }
  return count;
}

void CallStore::ForgetCalls(const std::shared_ptr<Subscription>& subscription,
                            const std::vector<CallId>& call_ids) {
  auto parts = PartByShard(*subscription->terms().tenant, call_ids);
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i].empty()) shards_[i]->Forget(subscription, std::move(parts[i]));
  }
}

void CallStore::OfferCalls(const Tenant& tenant, const std::vector<CallId>& call_ids) {
  std::vector<std::vector<CallKey>> parts(shards_.size());
  for (const CallId& call_id : call_ids) {
    parts[ShardOf(call_id)].push_back({.id = call_id, .tenant = tenant.number});
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i].empty()) shards_[i]->Offer(std::move(parts[i]));
  }
}

// Every shard, also one without calls that are waited for: it may hold claims.
void CallStore::ReleaseAll(const std::shared_ptr<Subscription>& subscription,
                           const std::vector<CallId>& call_ids) {
  Begin();
  auto parts = PartByShard(*subscription->terms().tenant, call_ids);
  for (size_t i = 0; i < parts.size(); ++i) {
    shards_[i]->Release(subscription, std::move(parts[i]));
  }
}

void CallStore::AllReleased(absl::AnyInvocable<void()> done) {
  RunLater(std::move(done));
  End();
}

// One batch at a time, so that outputs are told in the order in which they were claimed; other work
// gets its turn between two.
void CallStore::TellNews(std::shared_ptr<Subscription> subscription) {
  RunLater([this, subscription = std::move(subscription)] {
    Subscription::News news;
    if (subscription->TakeNews(&news)) ReadAndTell(subscription, std::move(news));
  });
}

void CallStore::ReadAndTell(const std::shared_ptr<Subscription>& subscription,
                            Subscription::News news) {
  struct Telling {
    Told told;
    uint64_t lost_count = 0;
    uint64_t lost_bytes = 0;
  };
  Tenant* const tenant = subscription->terms().tenant;
  auto telling = std::make_shared<Telling>();
  telling->told.status = std::move(news.stop);
  for (CallEnd& end : news.ended) {
    telling->told.ended.push_back({.call_id = end.call.key.id, .status = std::move(end.status)});
  }
  const uint64_t bytes_max = subscription->bytes_max();
  ReadClaims read = ReadClaimed(tenant, news.claimed, bytes_max, subscription->taker());
  telling->told.outputs = std::move(read.outputs);
  std::move(read.ended.begin(), read.ended.end(), std::back_inserter(telling->told.ended));
  telling->lost_count = news.claimed.size() - telling->told.outputs.size();
  for (const MadeClaim& made : news.claimed) {
    if (made.payload.size_bytes <= bytes_max) telling->lost_bytes += made.payload.size_bytes;
  }
  for (const ClaimedOutput& output : telling->told.outputs) {
    if (output.payload.has_value()) telling->lost_bytes -= output.stored.size_bytes;
  }
  const std::vector<CallId>& ended_ids = read.ended_unexplained;
  ExplainEnds(tenant, ended_ids,
              [this, subscription, telling, ended_ids](std::vector<absl::Status> reasons) {
                Told& told = telling->told;
                for (size_t i = 0; i < reasons.size(); ++i) {
                  told.ended.push_back({.call_id = ended_ids[i], .status = std::move(reasons[i])});
                }
                subscription->Tell(std::move(told), telling->lost_count, telling->lost_bytes);
                TellNews(subscription);
              });
}

}  // namespace mayfly
