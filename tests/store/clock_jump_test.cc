// Clock jumps in both directions, with restarts: a wrong clock must neither destroy live data nor
// keep data past its day.
#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "store/store_harness.h"

namespace mayfly {
namespace {

class ClockJump : public testing::Test {
 protected:
  ClockJump() {
    harness_.Open();
    id_ = harness_.NewId();
    EXPECT_TRUE(harness_.PutInput(id_, "in", absl::Hours(2)).status.ok());
  }

  // Lets time go by in steps in which a server reads its clocks.
  void Pass(absl::Duration duration) {
    const absl::Duration step = absl::Seconds(30);
    for (absl::Duration gone = absl::ZeroDuration(); gone < duration; gone += step) {
      harness_.clock.Advance(step);
      harness_.store()->Tick();
    }
  }

  bool IsReadable() { return harness_.GetInput(id_).status.ok(); }
  int64_t live_calls() { return harness_.tenant()->ledger.live_calls(); }

  StoreHarness harness_;
  CallId id_;
};

TEST_F(ClockJump, AJumpAheadRefusesReadsButDestroysNothing) {
  harness_.clock.JumpWall(absl::Hours(3));
  EXPECT_FALSE(IsReadable());
  harness_.store()->Tick();
  EXPECT_EQ(live_calls(), 1);
  harness_.clock.JumpWall(-absl::Hours(3));
  EXPECT_TRUE(IsReadable());
}

TEST_F(ClockJump, AJumpAheadAcrossARestartDestroysNothing) {
  harness_.Close();
  harness_.clock.JumpWall(absl::Hours(3));
  harness_.Open();
  EXPECT_FALSE(IsReadable());
  harness_.store()->Tick();
  EXPECT_EQ(live_calls(), 1);
  harness_.clock.JumpWall(-absl::Hours(3));
  EXPECT_TRUE(IsReadable());
}

TEST_F(ClockJump, AJumpBackDoesNotKeepDataPastItsTime) {
  harness_.clock.JumpWall(-absl::Hours(10));
  harness_.clock.SetSynchronised(false);
  Pass(absl::Hours(2) - absl::Minutes(1));
  EXPECT_TRUE(IsReadable());
  Pass(absl::Minutes(2));
  EXPECT_FALSE(IsReadable());
}

TEST_F(ClockJump, AJumpBackAcrossARestartDoesNotKeepDataPastItsTime) {
  harness_.Close();
  harness_.clock.JumpWall(-absl::Hours(10));
  harness_.clock.SetSynchronised(false);
  harness_.Open();
  EXPECT_TRUE(IsReadable());
  harness_.clock.Advance(absl::Hours(2));
  EXPECT_FALSE(IsReadable());
}

TEST_F(ClockJump, AfterANewBootNothingIsDestroyedBeforeTheClockIsTrusted) {
  harness_.Close();
  harness_.clock.Reboot("boot-2");
  harness_.clock.JumpWall(absl::Hours(30));  // a machine that wakes up in the future
  harness_.clock.SetSynchronised(false);
  harness_.Open();
  harness_.store()->Tick();
  EXPECT_FALSE(IsReadable());
  EXPECT_EQ(live_calls(), 1);
  // The time service puts it right.
  harness_.clock.JumpWall(-absl::Hours(30));
  harness_.clock.SetSynchronised(true);
  Pass(absl::Minutes(20));
  EXPECT_TRUE(IsReadable());
  EXPECT_EQ(live_calls(), 1);
}

TEST_F(ClockJump, AfterANewBootWithATrustedClockTheDueIsDestroyed) {
  harness_.Close();
  harness_.clock.Reboot("boot-2");
  harness_.clock.JumpWall(absl::Hours(3));
  harness_.Open();
  EXPECT_FALSE(IsReadable());
  harness_.store()->Tick();
  EXPECT_EQ(live_calls(), 0);
}

TEST(ClockWait, BeginsWhereTheRecordIsLostAndNotInANewStore) {
  StoreHarness harness;
  harness.clock.SetSynchronised(false);
  harness.Open();
  ASSERT_TRUE(harness.PutInput(harness.NewId(), "in", absl::Seconds(5)).status.ok());
  const auto pass_deadline = [&] {
    harness.clock.Advance(absl::Seconds(10));
    harness.store()->Tick();
    harness.Settle();
  };
  pass_deadline();
  EXPECT_EQ(harness.tenant()->ledger.live_calls(), 0) << "there was nothing to wait for";
  EXPECT_THAT(harness.log(), testing::IsEmpty());
  harness.Close();

  std::filesystem::remove(harness.data_dir() + "/keys/clock");
  harness.Open();
  ASSERT_TRUE(harness.PutInput(harness.NewId(), "in", absl::Seconds(5)).status.ok());
  pass_deadline();
  EXPECT_EQ(harness.tenant()->ledger.live_calls(), 1);
  EXPECT_THAT(harness.log(),
              testing::ElementsAre(testing::StartsWith("no time service has synchronised")));
  harness.clock.SetSynchronised(true);
  pass_deadline();
  EXPECT_EQ(harness.tenant()->ledger.live_calls(), 0);
  EXPECT_THAT(harness.log(),
              testing::ElementsAre(testing::_, testing::StartsWith("the clock is trusted")));
}

TEST_F(ClockJump, ARaisedMaxTtlWaitsUntilTheClockIsTrustedAndNotForAnotherStart) {
  harness_.config.retention.max_ttl = absl::Hours(3);
  harness_.config.retention.default_ttl = absl::Hours(1);
  harness_.Reopen();
  const CallId ended = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(ended, "in", absl::Hours(3)).status.ok());
  harness_.clock.Advance(absl::Hours(3) + absl::Minutes(1));
  harness_.Close();
  harness_.clock.Reboot("boot-2");
  harness_.clock.SetSynchronised(false);
  harness_.config.retention.max_ttl = absl::Hours(20);
  harness_.Open();
  harness_.store()->Tick();
  EXPECT_EQ(harness_.tenant()->policy().retention.max_ttl, absl::Hours(3));
  EXPECT_THAT(
      harness_.log(),
      testing::ElementsAre(
          testing::StartsWith("no time service has synchronised the clock since the machine "
                              "started: payloads are erased when one has, at most "),
          "the raised max_ttl of tenant acme waits until the clock is trusted; the old one "
          "is in force"));
  harness_.clock.SetSynchronised(true);
  Pass(absl::Minutes(20));
  EXPECT_EQ(harness_.tenant()->policy().retention.max_ttl, absl::Hours(20));
  EXPECT_THAT(harness_.log(),
              testing::IsSupersetOf({"the clock is trusted: what is past its deadline is erased",
                                     "the raised max_ttl of tenant acme is in force from now on"}));
  EXPECT_FALSE(harness_.GetInput(ended).status.ok()) << "what the old one has ended stays ended";
  const CallId longer = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(longer, "in", absl::Hours(20)).status.ok());
  Pass(absl::Hours(4));
  EXPECT_TRUE(harness_.GetInput(longer).status.ok());
}

TEST_F(ClockJump, ADisagreementThatLastsIsSettledByASynchronisedWall) {
  harness_.clock.JumpWall(absl::Hours(3));
  Pass(absl::Minutes(20));
  EXPECT_EQ(live_calls(), 0);
}

// Which is set an hour back, or ahead, while a poll waits and a client holds a claim.
TEST_F(ClockJump, WaitsAndLeasesLastAsLongAsTheySayWhenSteadyIsSet) {
  for (const absl::Duration jump : {-absl::Hours(1), absl::Hours(1)}) {
    const CallId held = harness_.NewId();
    const CallId pending = harness_.NewId();
    ASSERT_TRUE(harness_.PutInput(held, "in", absl::Hours(24)).status.ok());
    ASSERT_TRUE(harness_.PutInput(pending, "in", absl::Hours(24)).status.ok());
    ASSERT_TRUE(harness_.PutOutput(held, "out", 1, absl::Hours(24)).status.ok());
    harness_.clock.JumpWall(jump);
    harness_.store()->Tick();
    Pass(absl::Minutes(14));
    harness_.clock.Advance(absl::Seconds(59));
    harness_.store()->Tick();
    ASSERT_TRUE(harness_.store()->health().clocks_disagree);
    Awaited<ClaimResponse> poll;
    ClaimRequest request = StoreHarness::MakeClaim({pending}, 1);
    request.wait_ms = 3000;
    harness_.store()->ClaimOutputs(harness_.tenant(), request, poll.callback());
    ASSERT_EQ(harness_.Claim(held, 2).outputs.size(), 1u);
    harness_.Settle();
    harness_.clock.Advance(absl::Milliseconds(2900));
    harness_.Settle();
    EXPECT_FALSE(harness_.store()->health().clocks_disagree);
    EXPECT_FALSE(poll.is_answered());
    harness_.clock.Advance(absl::Milliseconds(200));
    harness_.Settle();
    EXPECT_TRUE(poll.Get().outputs.empty());
    harness_.clock.Advance(absl::Milliseconds(26'899));
    EXPECT_TRUE(harness_.Claim(held, 3).outputs.empty());
    harness_.clock.Advance(absl::Milliseconds(1));
    EXPECT_EQ(harness_.Claim(held, 3).outputs.size(), 1u);
  }
}

}  // namespace
}  // namespace mayfly
