// The promise "24 hours": no payload is readable at its deadline, and the sweep erases due
// payloads.

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "store/store_harness.h"

namespace mayfly {
namespace {

TEST(Expiry, APayloadIsReadableUntilItsDeadlineAndNotAtIt) {
  StoreHarness harness;
  harness.Open();
  const CallId id = harness.NewId();
  ASSERT_TRUE(harness.PutInput(id, "in", absl::Seconds(5)).status.ok());
  harness.clock.Advance(absl::Milliseconds(4'999));
  EXPECT_TRUE(harness.GetInput(id).status.ok());
  harness.clock.Advance(absl::Milliseconds(1));
  EXPECT_EQ(ReasonOf(harness.GetInput(id).status), Reason::kCallExpired);
  EXPECT_EQ(ReasonOf(harness.PutOutput(id, "out").status), Reason::kCallExpired);
}

TEST(Expiry, TheSweepErasesWhatIsDueAndNothingElse) {
  StoreHarness harness;
  harness.Open();
  std::vector<CallId> due;
  std::vector<CallId> kept;
  for (int i = 0; i < 1000; ++i) {
    due.push_back(harness.NewId());
    ASSERT_TRUE(harness.PutInput(due.back(), "in", absl::Seconds(1 + i % 7)).status.ok());
    if (i % 2 == 0) {
      ASSERT_TRUE(harness.PutOutput(due.back(), "out", 1, absl::Seconds(5)).status.ok());
    }
    if (i % 10 == 0) {
      kept.push_back(harness.NewId());
      ASSERT_TRUE(harness.PutInput(kept.back(), "in", absl::Hours(2)).status.ok());
    }
  }
  EXPECT_EQ(harness.tenant()->ledger.live_calls(), 1100);
  for (int second = 0; second < 9; ++second) {
    harness.clock.Advance(absl::Seconds(1));
    harness.store()->Tick();
  }
  EXPECT_EQ(harness.tenant()->ledger.live_calls(), 100);
  for (const CallId& id : due) EXPECT_EQ(harness.Phase(id), CallPhase::kExpired);
  for (const CallId& id : kept) EXPECT_EQ(harness.GetInput(id).payload->data, "in");
}

TEST(Expiry, ASweepThatFallsBehindIsReportedOnceAndWhenItHasCaughtUp) {
  StoreHarness harness;
  bool fails = false;
  harness.hooks.due = [&] { return fails ? absl::UnavailableError("no") : absl::OkStatus(); };
  harness.Open();
  harness.Settle();
  const auto reports = [&](absl::string_view text) {
    const std::vector<std::string> log = harness.log();
    return std::count_if(log.begin(), log.end(),
                         [&](const std::string& line) { return absl::StrContains(line, text); });
  };
  // A clock that jumps is no lag.
  harness.clock.Advance(absl::Minutes(10));
  for (int round = 0; round < 9; ++round) harness.store()->Tick();
  EXPECT_EQ(reports("behind"), 0);

  fails = true;
  harness.clock.Advance(absl::Minutes(10));
  for (int round = 0; round < 9; ++round) harness.store()->Tick();
  EXPECT_EQ(reports("the sweep is 10m behind"), 1);
  EXPECT_EQ(harness.store()->health().sweep_lag_ms, 600'000);
  fails = false;
  for (int round = 0; round < 9; ++round) harness.store()->Tick();
  EXPECT_EQ(reports("behind"), 1);
  EXPECT_EQ(reports("the sweep has caught up"), 1);
}

TEST(Expiry, WhatFellDueWhileTheServerWasDownIsErasedAfterTheStart) {
  StoreHarness harness;
  harness.Open();
  const CallId id = harness.NewId();
  ASSERT_TRUE(harness.PutInput(id, "in", absl::Hours(1)).status.ok());
  harness.Close();
  harness.clock.Advance(absl::Hours(3));
  harness.Open();
  EXPECT_EQ(ReasonOf(harness.GetInput(id).status), Reason::kCallExpired);
  harness.store()->Tick();
  EXPECT_EQ(harness.tenant()->ledger.live_calls(), 0);
}

TEST(Expiry, AnExpiredInputLeavesALiveOutput) {
  StoreHarness harness;
  harness.Open();
  const CallId id = harness.NewId();
  ASSERT_TRUE(harness.PutInput(id, "in", absl::Seconds(10)).status.ok());
  ASSERT_TRUE(harness.PutOutput(id, "out", 1, absl::Hours(1)).status.ok());
  harness.clock.Advance(absl::Seconds(12));
  harness.store()->Tick();
  EXPECT_EQ(ReasonOf(harness.GetInput(id).status), Reason::kCallExpired);
  EXPECT_EQ(harness.Claim(id, 1).outputs.at(0).payload->data, "out");
}

TEST(Expiry, AWaitingPollLearnsThatItsCallExpired) {
  StoreHarness harness;
  harness.Open();
  const CallId id = harness.NewId();
  ASSERT_TRUE(harness.PutInput(id, "in", absl::Seconds(3)).status.ok());
  ClaimRequest request = StoreHarness::MakeClaim({id}, 1);
  request.wait_ms = 55'000;
  Awaited<ClaimResponse> answer;
  harness.store()->ClaimOutputs(harness.tenant(), request, answer.callback());
  harness.store()->Tick();
  harness.clock.Advance(absl::Seconds(4));
  harness.store()->Tick();
  EXPECT_EQ(ReasonOf(answer.Get().ended.at(0).status), Reason::kCallExpired);
}

TEST(Expiry, ALoweredMaxTtlEndsOlderPayloadsAtOnceAndARaisedOneRevivesNothing) {
  StoreHarness harness;
  harness.Open();
  const CallId old = harness.NewId();
  ASSERT_TRUE(harness.PutInput(old, "in", absl::Hours(20)).status.ok());
  harness.clock.Advance(absl::Hours(2));
  const CallId young = harness.NewId();
  ASSERT_TRUE(harness.PutInput(young, "in", absl::Hours(20)).status.ok());
  harness.config.retention.max_ttl = absl::Hours(1);
  harness.config.retention.default_ttl = absl::Hours(1);
  harness.Reopen();
  EXPECT_EQ(ReasonOf(harness.GetInput(old).status), Reason::kCallExpired);
  EXPECT_TRUE(harness.GetInput(young).status.ok());
  harness.config.retention.max_ttl = absl::Hours(24);
  harness.Reopen();
  EXPECT_EQ(ReasonOf(harness.GetInput(old).status), Reason::kCallExpired);
  EXPECT_TRUE(harness.GetInput(young).status.ok());
  harness.store()->Tick();
  EXPECT_EQ(harness.tenant()->ledger.live_calls(), 1);
}

// On the machine's clock and with all threads running, under load.
TEST(Expiry, ShortTtlsEndOnTimeUnderLoad) {
  StoreHarness harness;
  harness.config.storage.durability = Config::Durability::kRelaxed;
  harness.background_threads = true;
  harness.Open();
  std::atomic<bool> stop{false};
  std::thread time([&] {
    while (!stop) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      harness.clock.Advance(absl::Milliseconds(50));
    }
  });
  std::vector<std::pair<CallId, int64_t>> calls;
  for (int i = 0; i < 2000; ++i) {
    const CallId id = harness.NewId();
    const PutResult put = harness.PutInput(id, "in", absl::Seconds(1 + i % 3));
    ASSERT_TRUE(put.status.ok()) << put.status;
    calls.emplace_back(id, put.deadline_ms);
    const auto& [older, deadline_ms] = calls[calls.size() / 2];
    const int64_t before_ms = absl::ToUnixMillis(harness.clock.Read().wall);
    const InputResult input = harness.GetInput(older);
    const int64_t after_ms = absl::ToUnixMillis(harness.clock.Read().wall);
    if (input.status.ok()) {
      EXPECT_LT(before_ms, deadline_ms);
    } else {
      EXPECT_GE(after_ms, deadline_ms);
    }
  }
  // All are due within three seconds of the hand-moved clock; the sweep is a tick behind.
  const absl::Time limit = absl::Now() + absl::Seconds(30);
  while (harness.tenant()->ledger.live_calls() > 0 && absl::Now() < limit) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(harness.tenant()->ledger.live_calls(), 0);
  stop = true;
  time.join();
}

}  // namespace
}  // namespace mayfly
