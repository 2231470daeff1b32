// SECURITY.md's table "Clocks" for jumps of every length, of either clock and of both, at start,
// while running and under load, against a model of the table: reads of a payload are rejected when
// either clock is past its deadline, and it is destroyed when both are.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "store/store_harness.h"

namespace mayfly {
namespace {

constexpr int64_t kSecondMs = 1000;
constexpr int64_t kMinuteMs = 60 * kSecondMs;
constexpr int64_t kHourMs = 60 * kMinuteMs;
constexpr int64_t kGraceMs = 15 * kMinuteMs;
constexpr int64_t kToleranceMs = 2 * kSecondMs;

constexpr int64_t kJumpsMs[] = {1 * kSecondMs, 3 * kSecondMs, 15 * kMinuteMs, 25 * kMinuteMs,
                                1 * kHourMs,   6 * kHourMs,   25 * kHourMs};

// Which clock moves. kBoth ahead is a suspended machine, or a process that was stopped.
enum class Moved { kWall, kSteady, kBoth };

// The time according to the table: two clocks, one of which can be set.
class Model {
 public:
  void Pass(int64_t ms) {
    wall_ms_ += ms;
    steady_ms_ += ms;
    if (Disagrees()) apart_for_ms_ += ms;
    Look();
  }
  void Jump(Moved moved, int64_t ms) {
    if (moved != Moved::kSteady) wall_ms_ += ms;
    // BOOTTIME itself never goes back: a process may see it stand still.
    if (moved != Moved::kWall) steady_ms_ += std::max<int64_t>(ms, 0);
    apart_for_ms_ = 0;
    Look();
  }
  bool IsRefused(int64_t deadline_ms) const {
    return std::max(wall_ms_, steady_ms_) >= deadline_ms;
  }
  bool MayDestroy(int64_t deadline_ms) const {
    return std::min(wall_ms_, steady_ms_) >= deadline_ms;
  }
  bool Disagrees() const { return std::abs(wall_ms_ - steady_ms_) > kToleranceMs; }
  int64_t steady_ms() const { return steady_ms_; }

 private:
  // The wall is synchronised in all of these tests.
  void Look() {
    if (!Disagrees()) apart_for_ms_ = 0;
    if (apart_for_ms_ < kGraceMs) return;
    steady_ms_ = wall_ms_;
    apart_for_ms_ = 0;
  }

  int64_t wall_ms_ = int64_t{1'800'000'000} * kSecondMs;  // as ManualClock begins
  int64_t steady_ms_ = wall_ms_;
  int64_t apart_for_ms_ = 0;
};

struct Case {
  int64_t jump_ms = 0;
  Moved moved = Moved::kWall;
};

class ClockTable : public testing::TestWithParam<Case> {
 protected:
  ClockTable() { harness_.Open(); }

  void Put(int64_t ttl_ms) {
    const CallId id = harness_.NewId(absl::FromUnixMillis(model_.steady_ms()));
    const int64_t deadline_ms = model_.steady_ms() + ttl_ms;
    const absl::Status status = harness_.PutInput(id, "in", absl::Milliseconds(ttl_ms)).status;
    // A payload that would be rejected at once is not stored.
    ASSERT_EQ(status.ok(), !model_.IsRefused(deadline_ms)) << status;
    if (status.ok()) deadlines_ms_[id] = deadline_ms;
  }
  void PutSome() {
    for (const int64_t ttl_ms :
         {2 * kSecondMs, 10 * kMinuteMs, 30 * kMinuteMs, 2 * kHourMs, 7 * kHourMs, 24 * kHourMs}) {
      Put(ttl_ms);
    }
  }
  void Pass(int64_t ms) {
    harness_.clock.Advance(absl::Milliseconds(ms));
    model_.Pass(ms);
  }
  void Jump() {
    const auto [jump_ms, moved] = GetParam();
    if (moved != Moved::kSteady) harness_.clock.JumpWall(absl::Milliseconds(jump_ms));
    if (moved != Moved::kWall) harness_.clock.JumpBoottime(absl::Milliseconds(jump_ms));
    model_.Jump(moved, jump_ms);
  }
  // Before the sweep has had a chance, and after it.
  void Check(const std::string& when) {
    SCOPED_TRACE(when);
    ExpectRefused();
    harness_.store()->Tick();
    for (auto item = deadlines_ms_.begin(); item != deadlines_ms_.end();) {
      // Deadlines are rounded up to a second.
      const int64_t due_ms = (item->second + 999) / 1000 * 1000;
      item = model_.MayDestroy(due_ms) ? deadlines_ms_.erase(item) : std::next(item);
    }
    EXPECT_EQ(harness_.tenant()->ledger.live_calls(), static_cast<int64_t>(deadlines_ms_.size()));
    ExpectRefused();
    ASSERT_FALSE(harness_.has_failed());
  }
  void ExpectRefused() {
    for (const auto& [id, deadline_ms] : deadlines_ms_) {
      EXPECT_EQ(!harness_.GetInput(id).status.ok(), model_.IsRefused(deadline_ms))
          << "its deadline is " << deadline_ms - model_.steady_ms() << " ms from steady";
    }
  }
  void CheckForAWhile() {
    Check("at once");
    PutSome();
    Check("puts");
    for (int i = 0; i < 5; ++i) {
      Pass(kSecondMs);
      Check("seconds later");
    }
    for (int64_t passed_ms = 0; passed_ms <= kGraceMs; passed_ms += 30 * kSecondMs) {
      Pass(30 * kSecondMs);
      Check("within the grace");
    }
    PutSome();
    for (int i = 0; i < 4; ++i) {
      Pass(kSecondMs);
      Check("after the grace");
    }
    EXPECT_FALSE(model_.Disagrees());
    // As far as the deadlines of before may lie ahead of a clock that was set back.
    Pass(51 * kHourMs);
    Check("days later");
    EXPECT_EQ(harness_.tenant()->ledger.live_calls(), 0);
  }

  StoreHarness harness_;
  Model model_;
  std::map<CallId, int64_t> deadlines_ms_;
};

TEST_P(ClockTable, HoldsWhenTheClockJumpsWhileRunning) {
  PutSome();
  Check("before");
  Jump();
  CheckForAWhile();
}

TEST_P(ClockTable, HoldsWhenTheClockJumpsBeforeAStart) {
  const auto [jump_ms, moved] = GetParam();
  // Then it is another boot.
  if (moved != Moved::kWall && jump_ms < 0) return;
  PutSome();
  Check("before");
  harness_.Close();
  Jump();
  harness_.Open();
  CheckForAWhile();
}

// Elapsed time is none of the two: who waits, and who holds a claim, may do so for as long as was
// said. Only what nobody could see, because nothing ran, has gone by.
TEST_P(ClockTable, WaitsAndLeasesLastAsLongAsTheySay) {
  const auto [jump_ms, moved] = GetParam();
  const int64_t unseen_ms = moved == Moved::kWall ? 0 : std::max<int64_t>(jump_ms, 0);
  const auto mint = [&] { return harness_.NewId(absl::FromUnixMillis(model_.steady_ms())); };
  const CallId held = mint();
  const CallId pending = mint();
  ASSERT_TRUE(harness_.PutInput(held, "in", absl::Hours(24)).status.ok());
  ASSERT_TRUE(harness_.PutOutput(held, "out", 1, absl::Hours(24)).status.ok());
  ASSERT_TRUE(harness_.PutInput(pending, "in", absl::Hours(24)).status.ok());
  const uint64_t fence = harness_.Claim(held, 1).outputs.at(0).fence;
  const auto poll = [&](Awaited<ClaimResponse>* answer) {
    ClaimRequest request = StoreHarness::MakeClaim({pending}, 2);
    request.wait_ms = 3000;
    harness_.store()->ClaimOutputs(harness_.tenant(), request, answer->callback());
    harness_.Settle();
  };
  Awaited<ClaimResponse> before;
  poll(&before);
  EXPECT_FALSE(before.is_answered());
  Jump();
  harness_.Settle();
  if (unseen_ms >= 3000) {
    before.Get();
  } else {
    EXPECT_FALSE(before.is_answered());
  }
  if (jump_ms > 24 * kHourMs) return harness_.Close();  // the calls are over

  Awaited<ClaimResponse> after;
  poll(&after);
  EXPECT_FALSE(after.is_answered());
  Pass(2900);
  harness_.Settle();
  EXPECT_FALSE(after.is_answered());
  Pass(200);
  harness_.Settle();
  after.Get();
  if (unseen_ms < 3000) before.Get();

  const int64_t left_ms = 30 * kSecondMs - 3100 - unseen_ms;
  if (left_ms <= 0) {
    EXPECT_EQ(harness_.Claim(held, 3).outputs.size(), 1u);
    return;
  }
  Pass(left_ms - 1);
  EXPECT_TRUE(harness_.Claim(held, 3).outputs.empty());
  EXPECT_TRUE(harness_.Renew(held, 1, fence, absl::Seconds(30)).status.ok());
  Pass(30 * kSecondMs - 1);
  EXPECT_TRUE(harness_.Claim(held, 3).outputs.empty());
  Pass(1);
  EXPECT_EQ(harness_.Claim(held, 3).outputs.size(), 1u);
}

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const Moved moved : {Moved::kWall, Moved::kSteady, Moved::kBoth}) {
    for (const int64_t jump_ms : kJumpsMs) {
      cases.push_back({.jump_ms = jump_ms, .moved = moved});
      // The kernel does not set BOOTTIME back: one length is enough to see that nothing breaks.
      if (moved != Moved::kWall && jump_ms != kHourMs) continue;
      cases.push_back({.jump_ms = -jump_ms, .moved = moved});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Jumps, ClockTable, testing::ValuesIn(AllCases()), [](const auto& tested) {
  const Case& jump = tested.param;
  return absl::StrCat(jump.moved == Moved::kWall     ? "Wall"
                      : jump.moved == Moved::kSteady ? "Steady"
                                                     : "Both",
                      jump.jump_ms < 0 ? "Back" : "Ahead", std::abs(jump.jump_ms) / kSecondMs, "s");
});

// With the threads that a server has, and requests under way all the time.
TEST(ClockJumpUnderLoad, StopsNothing) {
  StoreHarness harness;
  harness.config.retention.clock_jump_grace = absl::Seconds(5);
  harness.background_threads = true;
  harness.Open();
  std::atomic<bool> is_over{false};
  std::atomic<int> lives{0};
  std::thread load([&] {
    for (uint64_t token = 1; !is_over; ++token) {
      const CallId id = harness.NewId();
      if (!harness.PutInput(id, "in", absl::Seconds(60)).status.ok()) continue;
      if (!harness.PutOutput(id, "out").status.ok()) continue;
      const ClaimResponse claim = harness.Claim(id, token);
      if (claim.outputs.empty()) continue;
      lives += harness.Ack(id, token, claim.outputs[0].fence).status.ok();
    }
  });
  for (const int64_t jump_ms : kJumpsMs) {
    for (const int64_t signed_ms : {jump_ms, -jump_ms}) {
      harness.clock.JumpWall(absl::Milliseconds(signed_ms));
      absl::SleepFor(absl::Milliseconds(20));
      if (signed_ms > 0) harness.clock.Advance(absl::Milliseconds(signed_ms));
      absl::SleepFor(absl::Milliseconds(20));
      // Beyond the grace, in the steps in which a server reads its clocks.
      for (int i = 0; i < 7; ++i) {
        harness.clock.Advance(absl::Seconds(1));
        absl::SleepFor(absl::Milliseconds(3));
      }
    }
  }
  const int lives_before = lives;
  while (lives < lives_before + 10 && !harness.has_failed()) absl::SleepFor(absl::Milliseconds(1));
  is_over = true;
  load.join();
  // The sweep goes on as well.
  const CallId id = harness.NewId();
  ASSERT_TRUE(harness.PutInput(id, "in", absl::Seconds(2)).status.ok());
  harness.clock.Advance(absl::Hours(60));
  while (harness.tenant()->ledger.live_calls() > 0 && !harness.has_failed()) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_FALSE(harness.has_failed());
}

}  // namespace
}  // namespace mayfly
