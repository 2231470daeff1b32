// Orders of events that otherwise depend on luck: a Subscription between a shard and a store that
// the test plays.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "store/subscription.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PlayedHost : public SubscriptionHost {
 public:
  size_t Register(const std::shared_ptr<Subscription>&, const std::vector<CallId>&) override {
    return 1;
  }
  void Unregister(const std::shared_ptr<Subscription>&, const std::vector<CallId>&) override {}
  void Recheck(const Tenant&, const std::vector<CallId>& call_ids) override {
    offered_.insert(offered_.end(), call_ids.begin(), call_ids.end());
  }
  void ScheduleDelivery(std::shared_ptr<Subscription>) override { ++told_; }
  void Part(const std::shared_ptr<Subscription>&, const std::vector<CallId>&,
            ClaimsAtEnd) override {}
  void OnAllReleased(absl::AnyInvocable<void()> done) override { done(); }

  std::vector<CallId> TakeOffered() { return std::exchange(offered_, {}); }
  int told() const { return told_; }

 private:
  std::vector<CallId> offered_;
  int told_ = 0;
};

class SubscriptionTurnTest : public ::testing::Test {
 protected:
  SubscriptionTurnTest() {
    tenant_.ledger.SetLimits({.claims_max = 100, .stream_subscriptions_max = 10});
    for (uint8_t i = 0; i < 4; ++i) {
      const uint8_t random[10] = {i};
      ids_.push_back(CallId::Mint(absl::FromUnixSeconds(1'800'000'000), random));
    }
    subscription_ = std::make_shared<Subscription>(
        &host_, ClaimTerms{.tenant = &tenant_, .waits = true, .holds_claims = true},
        SubscriptionLimits{.bytes_max = 100, .shard_count = 1}, [](Delivery) {});
    EXPECT_TRUE(subscription_->Add(ids_));
  }

  WantedCall Wanted(const CallId& id) const { return {.key = {.id = id, .tenant = {}}}; }

  // What a shard does with a call that can be claimed. Whether it was.
  bool Offer(const CallId& id, uint64_t size_bytes = 1) {
    bool takes = false;
    {
      MutexLock lock(subscription_->mutex());
      const WantedCall call = Wanted(id);
      if (!subscription_->Wants(call)) return false;
      takes = subscription_->TakesOutput(call, size_bytes);
      if (takes) {
        subscription_->AddClaim({.call = call, .payload = {.size_bytes = size_bytes}});
      }
    }
    subscription_->OnOffered();
    return takes;
  }
  void OfferPending(const CallId& id) {
    {
      MutexLock lock(subscription_->mutex());
      subscription_->OnPending(Wanted(id));
    }
    subscription_->OnOffered();
  }

  PlayedHost host_;
  Tenant tenant_;
  std::vector<CallId> ids_;
  std::shared_ptr<Subscription> subscription_;
};

TEST_F(SubscriptionTurnTest, WhatWasGrantedForOneIsNotTakenByALaterOne) {
  EXPECT_FALSE(Offer(ids_[0]));
  subscription_->Grant(1, 100);
  EXPECT_THAT(host_.TakeOffered(), ElementsAre(ids_[0]));
  // It becomes ready before the shard has come to the offer.
  EXPECT_FALSE(Offer(ids_[1]));
  EXPECT_TRUE(Offer(ids_[0]));
  host_.TakeOffered();
  EXPECT_FALSE(Offer(ids_[1]));
  subscription_->Grant(1, 0);
  EXPECT_THAT(host_.TakeOffered(), ElementsAre(ids_[1]));
  EXPECT_TRUE(Offer(ids_[1]));
}

TEST_F(SubscriptionTurnTest, TheNextGetsItsTurnWhenTheFirstIsUnsubscribed) {
  EXPECT_FALSE(Offer(ids_[0]));
  EXPECT_FALSE(Offer(ids_[1]));
  subscription_->Grant(1, 100);
  EXPECT_THAT(host_.TakeOffered(), ElementsAre(ids_[0]));
  subscription_->Remove({ids_[0]});
  EXPECT_THAT(host_.TakeOffered(), ElementsAre(ids_[1]));
  EXPECT_FALSE(Offer(ids_[0]));
  EXPECT_TRUE(Offer(ids_[1]));
}

TEST_F(SubscriptionTurnTest, TheNextGetsItsTurnWhenTheFirstIsClaimedBySomebodyElse) {
  EXPECT_FALSE(Offer(ids_[0]));
  EXPECT_FALSE(Offer(ids_[1]));
  subscription_->Grant(1, 100);
  host_.TakeOffered();
  OfferPending(ids_[0]);
  EXPECT_THAT(host_.TakeOffered(), ElementsAre(ids_[1]));
  EXPECT_TRUE(Offer(ids_[1]));
}

TEST_F(SubscriptionTurnTest, IsOfferedNoMoreThanItCanClaim) {
  for (const CallId& id : ids_) EXPECT_FALSE(Offer(id));
  subscription_->Grant(2, 100);
  EXPECT_THAT(host_.TakeOffered(), ElementsAre(ids_[0], ids_[1]));
  subscription_->Grant(100, 0);
  EXPECT_THAT(host_.TakeOffered(), ElementsAre(ids_[0], ids_[1], ids_[2], ids_[3]));
  EXPECT_TRUE(Offer(ids_[0], 100));
  // No bytes are left.
  EXPECT_THAT(host_.TakeOffered(), IsEmpty());
  EXPECT_FALSE(Offer(ids_[1]));
}

TEST_F(SubscriptionTurnTest, CreditThatIsPastCountingIsMuch) {
  for (int i = 0; i < 3; ++i) subscription_->Grant(UINT64_MAX, UINT64_MAX);
  EXPECT_TRUE(Offer(ids_[0]));
}

TEST_F(SubscriptionTurnTest, IsRefusedOnceASecondWhileTheQuotaIsUsedUp) {
  subscription_->Grant(100, 100);
  std::vector<ClaimLease> claims;
  for (int i = 0; i < 100; ++i) claims.push_back(tenant_.ledger.TakeClaim());
  {
    MutexLock lock(subscription_->mutex());
    ASSERT_TRUE(subscription_->TakesOutput(Wanted(ids_[0]), 1));
    EXPECT_TRUE(
        subscription_->OnQuotaReached(Wanted(ids_[0]), absl::ResourceExhaustedError("claims")));
  }
  subscription_->OnOffered();
  EXPECT_THAT(host_.TakeOffered(), IsEmpty());
  EXPECT_TRUE(subscription_->OnTimer());
  EXPECT_THAT(host_.TakeOffered(), IsEmpty());
  claims.pop_back();
  EXPECT_FALSE(subscription_->OnTimer());
  EXPECT_THAT(host_.TakeOffered(), ElementsAre(ids_[0]));
}

TEST_F(SubscriptionTurnTest, IsBehindWhileTheShardsHaveTooMuchToLookAt) {
  for (int64_t registrations = 1; registrations <= Subscription::kRegistrationsMax;
       ++registrations) {
    EXPECT_FALSE(subscription_->IsBehind());
    subscription_->Remove({ids_[0]});
    EXPECT_TRUE(subscription_->Add({ids_[0]}));
  }
  EXPECT_TRUE(subscription_->IsBehind());
  subscription_->OnRegistered();
  EXPECT_FALSE(subscription_->IsBehind());
}

TEST_F(SubscriptionTurnTest, TellsOneBatchAtATime) {
  subscription_->Grant(100, 100);
  EXPECT_TRUE(Offer(ids_[0]));
  EXPECT_EQ(host_.told(), 1);
  EXPECT_TRUE(Offer(ids_[1]));
  EXPECT_EQ(host_.told(), 1);
  Subscription::News news;
  ASSERT_TRUE(subscription_->TakeNews(&news));
  EXPECT_EQ(news.claimed.size(), 2u);
  EXPECT_TRUE(Offer(ids_[2]));
  EXPECT_EQ(host_.told(), 1);
  ASSERT_TRUE(subscription_->TakeNews(&news));
  EXPECT_FALSE(subscription_->TakeNews(&news));
  EXPECT_TRUE(Offer(ids_[3]));
  EXPECT_EQ(host_.told(), 2);
}

}  // namespace
}  // namespace mayfly
