// The wait list by itself: no store, no thread, and time as the test says.
#include "store/shard/wait_list.h"

#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "store/poll.h"
#include "store/shard/call_key.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kWaitStartMs = 1'000;

std::shared_ptr<Claimant> NewClaimant() {
  return std::make_shared<Poll>(ClaimTerms{}, PollLimits{}, [](PollAnswer) {});
}

class WaitListTest : public testing::Test {
 protected:
  // Those that it is offered to, in order; the first `taken_count` of them take it.
  std::vector<Claimant*> Served(uint8_t call, size_t taken_count) {
    std::vector<Claimant*> offered;
    list_.Serve(KeyOf(call), [&](const Waiter& waiter) {
      offered.push_back(waiter.claimant.get());
      return offered.size() <= taken_count;
    });
    return offered;
  }

  WaitList list_{kWaitStartMs};
  const std::shared_ptr<Claimant> anna_ = NewClaimant();
  const std::shared_ptr<Claimant> bert_ = NewClaimant();
  const std::shared_ptr<Claimant> cleo_ = NewClaimant();
};

TEST_F(WaitListTest, ServesInTheOrderInWhichTheyCameAndKeepsTheOthersInIt) {
  for (const auto& claimant : {anna_, bert_, cleo_}) {
    list_.Add(KeyOf(1), {.claimant = claimant});
  }
  EXPECT_THAT(Served(1, 1), ElementsAre(anna_.get(), bert_.get(), cleo_.get()));
  EXPECT_THAT(Served(1, 2), ElementsAre(bert_.get(), cleo_.get()));
  EXPECT_THAT(Served(1, 0), IsEmpty());
}

TEST_F(WaitListTest, WakesOnlyCallsThatSomebodyWaitsFor) {
  list_.Wake(KeyOf(1));
  EXPECT_THAT(list_.woken(), IsEmpty());
  list_.Add(KeyOf(1), {.claimant = anna_});
  list_.Wake(KeyOf(1));
  list_.Wake(KeyOf(2));
  EXPECT_THAT(list_.TakeWoken(), ElementsAre(KeyOf(1)));
  EXPECT_THAT(list_.TakeWoken(), IsEmpty());
}

TEST_F(WaitListTest, RemovesAClaimantsWaitsAndNobodyElses) {
  list_.Add(KeyOf(1), {.claimant = anna_, .index = 0});
  list_.Add(KeyOf(1), {.claimant = bert_});
  list_.Add(KeyOf(1), {.claimant = anna_, .index = 1});
  list_.Remove(KeyOf(1), anna_.get(), /*keeps_one=*/true);
  EXPECT_THAT(Served(1, 0), ElementsAre(anna_.get(), bert_.get()));
  list_.Remove(KeyOf(1), anna_.get(), /*keeps_one=*/false);
  EXPECT_THAT(Served(1, 0), ElementsAre(bert_.get()));
  list_.Remove(KeyOf(2), bert_.get(), /*keeps_one=*/false);
  EXPECT_THAT(list_.TakeAll(KeyOf(1)), ElementsAre(bert_));
  EXPECT_THAT(list_.TakeAll(), IsEmpty());
}

TEST_F(WaitListTest, AClaimantHasOneTimer) {
  list_.StartTimer(anna_, kWaitStartMs + 1'000);
  list_.StartTimer(bert_, kWaitStartMs + 2'000);
  list_.StartTimer(anna_, kWaitStartMs + 3'000);
  EXPECT_THAT(list_.TakeDue(kWaitStartMs + 1'500), IsEmpty());
  EXPECT_THAT(list_.TakeDue(kWaitStartMs + 2'100), ElementsAre(bert_));
  EXPECT_THAT(list_.TakeDue(kWaitStartMs + 3'100), ElementsAre(anna_));
  EXPECT_FALSE(list_.has_timers());
}

TEST_F(WaitListTest, ACancelledTimerIsNotDue) {
  list_.StartTimer(anna_, kWaitStartMs + 1'000);
  list_.CancelTimer(anna_.get());
  list_.CancelTimer(bert_.get());
  EXPECT_FALSE(list_.has_timers());
  EXPECT_THAT(list_.TakeDue(kWaitStartMs + 1'100), IsEmpty());
}

TEST_F(WaitListTest, ATimerKeepsNobodyAlive) {
  std::shared_ptr<Claimant> dead = NewClaimant();
  const std::weak_ptr<Claimant> seen = dead;
  list_.StartTimer(dead, kWaitStartMs + 1'000);
  dead.reset();
  EXPECT_TRUE(seen.expired());
  EXPECT_THAT(list_.TakeDue(kWaitStartMs + 1'100), IsEmpty());
}

}  // namespace
}  // namespace mayfly
