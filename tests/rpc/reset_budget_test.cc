#include "rpc/reset_budget.h"

#include <string>

#include <gtest/gtest.h>

namespace mayfly {
namespace {

constexpr ResetRate kFewResets = {.burst = 10, .per_second = 4};

class SharedResetBudgetsTest : public ::testing::Test {
 protected:
  // How many calls this peer may reset now.
  int64_t TakeAll(const ResetPeer& peer) {
    int64_t taken = 0;
    while (taken <= kPeerResets.burst && budgets_.Take(peer, now_)) ++taken;
    return taken;
  }

  SharedResetBudgets budgets_;
  absl::Duration now_ = absl::Hours(1);
};

TEST(ResetBudgetTest, HasABurstAndThenARate) {
  ResetBudget budget(kFewResets);
  absl::Duration now = absl::Hours(1);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(budget.Take(now));
  EXPECT_FALSE(budget.Take(now));
  now += absl::Seconds(1);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(budget.Take(now));
  EXPECT_FALSE(budget.Take(now));
}

TEST(ResetBudgetTest, IsWholeWhenAllHasGrownAgain) {
  ResetBudget budget(kFewResets);
  EXPECT_TRUE(budget.IsWhole(absl::Hours(1)));
  EXPECT_TRUE(budget.Take(absl::Hours(1)));
  EXPECT_FALSE(budget.IsWhole(absl::Hours(1)));
  EXPECT_TRUE(budget.IsWhole(absl::Hours(1) + absl::Milliseconds(250)));
}

TEST_F(SharedResetBudgetsTest, AnAddressHasOneForAllItsTenants) {
  EXPECT_EQ(TakeAll({.address = "A", .tenant = "T"}), kPeerResets.burst);
  EXPECT_EQ(TakeAll({.address = "A", .tenant = "U"}), 0);
  EXPECT_EQ(TakeAll({.address = "B", .tenant = "U"}), kPeerResets.burst);
}

TEST_F(SharedResetBudgetsTest, ATenantHasOneForAllItsAddresses) {
  EXPECT_EQ(TakeAll({.address = "A", .tenant = "T"}), kPeerResets.burst);
  EXPECT_EQ(TakeAll({.address = "B", .tenant = "T"}), 0);
}

// Else a tenant could use up that of an address by resets that are refused, and the other way round.
TEST_F(SharedResetBudgetsTest, WhatIsRefusedTakesNothing) {
  TakeAll({.address = "A", .tenant = "T"});
  TakeAll({.address = "A", .tenant = "U"});
  TakeAll({.address = "B", .tenant = "T"});
  EXPECT_EQ(TakeAll({.address = "B", .tenant = "U"}), kPeerResets.burst);
  EXPECT_EQ(budgets_.taken_count(), static_cast<uint64_t>(2 * kPeerResets.burst));
}

TEST_F(SharedResetBudgetsTest, GrowsAgainAtItsRate) {
  const ResetPeer peer = {.address = "A", .tenant = "T"};
  TakeAll(peer);
  now_ += absl::Seconds(2);
  EXPECT_EQ(TakeAll(peer), 2 * kPeerResets.per_second);
}

TEST_F(SharedResetBudgetsTest, NobodySharesAnUnknownName) {
  EXPECT_EQ(TakeAll({.address = "A", .tenant = ""}), kPeerResets.burst);
  EXPECT_EQ(TakeAll({.address = "B", .tenant = ""}), kPeerResets.burst);
  EXPECT_EQ(TakeAll({.address = "", .tenant = "T"}), kPeerResets.burst);
  EXPECT_EQ(TakeAll({.address = "", .tenant = "U"}), kPeerResets.burst);
}

TEST_F(SharedResetBudgetsTest, ForgetsThoseThatAreWhole) {
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(budgets_.Take({.address = std::to_string(i), .tenant = "T"}, now_));
    now_ += absl::Milliseconds(2);  // at 800 a second each is whole again
  }
  EXPECT_LE(budgets_.budget_count(), 100u);
}

}  // namespace
}  // namespace mayfly
