#include "retention/timekeeper.h"

#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mayfly {
namespace {

constexpr absl::Duration kGrace = absl::Minutes(15);
constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kGraceMs = 900'000;
constexpr int64_t kNoonMs = 1'700'000'000'000;  // when the machine is first switched on

// A machine with two clocks, one of which can be set, and a Timekeeper that may be restarted.
class Machine {
 public:
  Machine() { StartProcess(std::nullopt); }

  void StartProcess(const std::optional<TimeRecord>& saved, absl::Duration grace = kGrace) {
    keeper_ = Timekeeper::Start(saved, Reading(), boot_id_, grace);
  }
  void RestartProcess(absl::Duration grace = kGrace) { StartProcess(keeper_->Record(), grace); }

  // Off for `off_ms`, during which the wall clock runs on; then BOOTTIME starts anew.
  void Reboot(int64_t off_ms) {
    wall_ms_ += off_ms;
    boottime_ms_ = 20'000;
    boot_id_ += "'";
    RestartProcess();
  }

  // Both clocks run; the process reads them every five seconds, as the store does.
  void Run(int64_t duration_ms) {
    for (; duration_ms > 5000; duration_ms -= 5000) Pass(5000);
    Pass(duration_ms);
  }
  // Suspended: both clocks run, nobody reads them before the end.
  Now Pass(int64_t duration_ms) {
    wall_ms_ += duration_ms;
    boottime_ms_ += duration_ms;
    true_ms_ += duration_ms;
    return Read();
  }
  Now StepWall(int64_t by_ms) {
    wall_ms_ += by_ms;
    return Read();
  }
  Now Synchronise(bool synchronised) {
    synchronised_ = synchronised;
    return Read();
  }

  Now Read() { return keeper_->Read(Reading()); }
  const Timekeeper& keeper() const { return *keeper_; }
  int64_t wall_ms() const { return wall_ms_; }
  // How long both clocks have run since the first start.
  int64_t ran_ms() const { return true_ms_; }

 private:
  ClockReading Reading() const {
    return {.wall = absl::FromUnixMillis(wall_ms_),
            .boottime = absl::Milliseconds(boottime_ms_),
            .synchronised = synchronised_};
  }

  int64_t wall_ms_ = kNoonMs;
  int64_t boottime_ms_ = 50'000;
  int64_t true_ms_ = 0;
  bool synchronised_ = false;
  std::string boot_id_ = "9a3c1b5e-4e0d-4c39-8b6b-6a1f3f6f0c11";
  std::optional<Timekeeper> keeper_;
};

// Past the wait after a boot, synchronised.
Machine SettledMachine() {
  Machine machine;
  machine.Synchronise(true);
  machine.Run(kHourMs);
  return machine;
}

TEST(Timekeeper, GivesOneTimeWhileTheClocksAgree) {
  Machine machine = SettledMachine();
  const Now now = machine.Read();
  EXPECT_EQ(now.read_ms, kNoonMs + kHourMs);
  EXPECT_EQ(now.erase_ms, kNoonMs + kHourMs);
  EXPECT_EQ(now.steady_ms, kNoonMs + kHourMs);
  EXPECT_FALSE(machine.keeper().disagrees());
}

TEST(Timekeeper, DestroysNothingAfterABootBeforeTheGraceIsOver) {
  Machine machine;
  EXPECT_EQ(machine.Read().erase_ms, Now::kNeverMs);
  machine.Run(kGraceMs - 1);
  EXPECT_EQ(machine.Read().erase_ms, Now::kNeverMs);
  machine.Run(1);
  EXPECT_EQ(machine.Read().erase_ms, kNoonMs + kGraceMs);
}

TEST(Timekeeper, DestroysAfterABootOnceTheClockIsSynchronised) {
  Machine machine;
  machine.Run(1000);
  EXPECT_EQ(machine.Read().erase_ms, Now::kNeverMs);
  machine.Synchronise(true);
  EXPECT_EQ(machine.Read().erase_ms, kNoonMs + 1000);
  machine.Synchronise(false);
  EXPECT_EQ(machine.Read().erase_ms, kNoonMs + 1000) << "opened for good";
}

TEST(Timekeeper, DoesNotLetARestartCutTheWaitAfterABootShort) {
  Machine machine;
  machine.Run(kGraceMs / 2);
  machine.RestartProcess();
  EXPECT_EQ(machine.Read().erase_ms, Now::kNeverMs);
  machine.Run(kGraceMs / 2 - 1);
  EXPECT_EQ(machine.Read().erase_ms, Now::kNeverMs);
  machine.Run(1);
  EXPECT_NE(machine.Read().erase_ms, Now::kNeverMs);
}

TEST(Timekeeper, ShortensTheWaitAfterABootWhenTheGraceIsLowered) {
  Machine machine;
  machine.RestartProcess(absl::Minutes(1));
  machine.Run(60'000 - 1);
  EXPECT_EQ(machine.Read().erase_ms, Now::kNeverMs);
  machine.Run(1);
  EXPECT_EQ(machine.Read().erase_ms, kNoonMs + 60'000);

  Machine another;
  another.RestartProcess(absl::ZeroDuration());
  EXPECT_EQ(another.Read().erase_ms, kNoonMs);
}

TEST(Timekeeper, WaitsAgainAfterEveryBootButNotAfterARestart) {
  Machine machine = SettledMachine();
  machine.Synchronise(false);
  machine.RestartProcess();
  EXPECT_NE(machine.Read().erase_ms, Now::kNeverMs);
  machine.Reboot(60'000);
  EXPECT_EQ(machine.Read().erase_ms, Now::kNeverMs);
}

TEST(Timekeeper, RefusesAtOnceAndDestroysLaterWhenTheWallJumpsAhead) {
  Machine machine = SettledMachine();
  const int64_t before_ms = machine.Read().steady_ms;
  const Now now = machine.StepWall(2 * kHourMs);
  EXPECT_EQ(now.read_ms, before_ms + 2 * kHourMs);
  EXPECT_EQ(now.erase_ms, before_ms);
  EXPECT_EQ(now.steady_ms, before_ms);
  EXPECT_TRUE(machine.keeper().disagrees());
  EXPECT_EQ(machine.keeper().disagreement(), absl::Hours(2));
}

TEST(Timekeeper, KeepsReadingBySteadyWhenTheWallJumpsBack) {
  Machine machine = SettledMachine();
  const int64_t before_ms = machine.Read().steady_ms;
  const Now now = machine.StepWall(-2 * kHourMs);
  EXPECT_EQ(now.read_ms, before_ms);
  EXPECT_EQ(now.erase_ms, before_ms - 2 * kHourMs);
  EXPECT_EQ(now.steady_ms, before_ms);
  EXPECT_EQ(machine.keeper().disagreement(), -absl::Hours(2));
}

TEST(Timekeeper, ForgetsAJumpThatIsTakenBackWithinTheGrace) {
  Machine machine = SettledMachine();
  machine.StepWall(2 * kHourMs);
  machine.Run(kGraceMs - 1);
  const Now now = machine.StepWall(-2 * kHourMs);
  EXPECT_EQ(now.read_ms, machine.wall_ms());
  EXPECT_EQ(now.erase_ms, machine.wall_ms());
  EXPECT_FALSE(machine.keeper().disagrees());
  machine.StepWall(2 * kHourMs);
  machine.Run(kGraceMs - 1);
  EXPECT_EQ(machine.Read().steady_ms, machine.wall_ms() - 2 * kHourMs)
      << "the grace of the first jump must not count for the second";
}

TEST(Timekeeper, AnchorsAnewToASynchronisedWallEitherWayAfterTheGrace) {
  for (const int64_t jump_ms : {2 * kHourMs, -2 * kHourMs}) {
    Machine machine = SettledMachine();
    machine.StepWall(jump_ms);
    machine.Run(kGraceMs - 1);
    EXPECT_EQ(machine.Read().steady_ms, machine.wall_ms() - jump_ms);
    machine.Run(1);
    const Now now = machine.Read();
    EXPECT_EQ(now.steady_ms, machine.wall_ms());
    EXPECT_EQ(now.read_ms, machine.wall_ms());
    EXPECT_EQ(now.erase_ms, machine.wall_ms());
    EXPECT_FALSE(machine.keeper().disagrees());
  }
}

TEST(Timekeeper, AnchorsAnewToAnUnsynchronisedWallForwardsOnly) {
  Machine ahead = SettledMachine();
  ahead.Synchronise(false);
  ahead.StepWall(2 * kHourMs);
  ahead.Run(kGraceMs);
  EXPECT_EQ(ahead.Read().steady_ms, ahead.wall_ms());

  Machine behind = SettledMachine();
  behind.Synchronise(false);
  behind.StepWall(-2 * kHourMs);
  behind.Run(10 * kGraceMs);
  EXPECT_EQ(behind.Read().steady_ms, behind.wall_ms() + 2 * kHourMs);
  EXPECT_TRUE(behind.keeper().disagrees());
  behind.Synchronise(true);
  EXPECT_EQ(behind.Read().steady_ms, behind.wall_ms()) << "the grace is over already";
}

TEST(Timekeeper, StartsTheGraceAnewWhenTheWallJumpsAgain) {
  Machine machine = SettledMachine();
  machine.StepWall(kHourMs);
  machine.Run(kGraceMs - 1000);
  machine.StepWall(10 * kHourMs);
  machine.Run(kGraceMs - 1);
  EXPECT_EQ(machine.Read().steady_ms, machine.wall_ms() - 11 * kHourMs);
  machine.Run(1);
  EXPECT_EQ(machine.Read().steady_ms, machine.wall_ms());
}

TEST(Timekeeper, ToleratesALeapSecondAndNotMoreThanTwo) {
  Machine machine = SettledMachine();
  machine.StepWall(-1000);
  EXPECT_FALSE(machine.keeper().disagrees());
  machine.StepWall(-1000);
  EXPECT_FALSE(machine.keeper().disagrees());
  machine.StepWall(-1);
  EXPECT_TRUE(machine.keeper().disagrees());
}

TEST(Timekeeper, ContinuesSteadyAcrossARestartWhateverTheWallSays) {
  for (const int64_t jump_ms : {2 * kHourMs, -2 * kHourMs}) {
    Machine machine = SettledMachine();
    const TimeRecord saved = machine.keeper().Record();
    machine.Pass(7000);
    machine.StepWall(jump_ms);
    machine.StartProcess(saved);
    EXPECT_EQ(machine.Read().steady_ms, kNoonMs + machine.ran_ms());
    EXPECT_TRUE(machine.keeper().disagrees());
  }
}

TEST(Timekeeper, CountsTheGraceOfADisagreementAcrossRestarts) {
  Machine machine = SettledMachine();
  machine.StepWall(2 * kHourMs);
  machine.Run(kGraceMs / 2);
  machine.RestartProcess();
  machine.Run(kGraceMs / 2 - 1);
  EXPECT_EQ(machine.Read().steady_ms, machine.wall_ms() - 2 * kHourMs);
  machine.Run(1);
  EXPECT_EQ(machine.Read().steady_ms, machine.wall_ms());
}

TEST(Timekeeper, CountsSuspension) {
  Machine machine = SettledMachine();
  const Now now = machine.Pass(30 * kHourMs);
  EXPECT_EQ(now.erase_ms, kNoonMs + 31 * kHourMs);
  EXPECT_FALSE(machine.keeper().disagrees());
}

TEST(Timekeeper, StartsFromTheWallAfterABoot) {
  Machine machine = SettledMachine();
  machine.Reboot(3 * kHourMs);
  EXPECT_EQ(machine.Read().steady_ms, machine.wall_ms());
  EXPECT_FALSE(machine.keeper().disagrees());
}

TEST(Timekeeper, DoesNotStartBelowTheHighWaterMarkAfterABoot) {
  Machine machine = SettledMachine();
  machine.Synchronise(false);
  machine.Reboot(-5 * kHourMs);  // an empty battery: the wall comes up behind
  const Now now = machine.Read();
  EXPECT_EQ(now.steady_ms, kNoonMs + kHourMs);
  EXPECT_EQ(now.read_ms, kNoonMs + kHourMs) << "what had expired stays so";
  EXPECT_TRUE(machine.keeper().disagrees());
  machine.Run(kGraceMs);
  EXPECT_EQ(machine.Read().erase_ms, machine.wall_ms()) << "both must say so";
}

TEST(Timekeeper, DoesNotRaiseTheHighWaterMarkWhileTheReadingsDisagree) {
  Machine machine = SettledMachine();
  const int64_t mark_ms = machine.keeper().Record().high_water_ms;
  EXPECT_EQ(mark_ms, machine.wall_ms());
  machine.StepWall(2 * kHourMs);
  machine.Run(kGraceMs - 1);
  EXPECT_EQ(machine.keeper().Record().high_water_ms, mark_ms);
}

// A machine that comes up years ahead and is put right by its time service soon after.
TEST(Timekeeper, IsNotPoisonedByAWallThatIsWrongAfterABoot) {
  Machine machine = SettledMachine();
  const int64_t years_ms = 5 * 365 * 24 * kHourMs;
  machine.Synchronise(false);
  machine.Reboot(years_ms);
  const int64_t mark_ms = machine.keeper().Record().high_water_ms;
  machine.Run(kGraceMs / 2);
  EXPECT_EQ(machine.Read().erase_ms, Now::kNeverMs) << "both readings are wrong";
  EXPECT_EQ(machine.keeper().Record().high_water_ms, mark_ms);

  machine.StepWall(-years_ms);
  machine.Synchronise(true);
  EXPECT_EQ(machine.Read().erase_ms, machine.wall_ms());
  machine.Run(kGraceMs);
  EXPECT_EQ(machine.Read().steady_ms, machine.wall_ms());
  machine.Reboot(60'000);
  EXPECT_EQ(machine.Read().steady_ms, machine.wall_ms());
}

TEST(Timekeeper, LowersAPoisonedHighWaterMarkToASynchronisedWall) {
  Machine machine;
  const int64_t years_ms = 5 * 365 * 24 * kHourMs;
  machine.StepWall(years_ms);
  machine.Run(3 * kGraceMs);  // unsynchronised beyond both graces: believed
  EXPECT_GT(machine.keeper().Record().high_water_ms, kNoonMs + years_ms);
  machine.StepWall(-years_ms);
  machine.Synchronise(true);
  machine.Run(kGraceMs);
  EXPECT_EQ(machine.keeper().Record().high_water_ms, machine.wall_ms());
  machine.Reboot(60'000);
  EXPECT_EQ(machine.Read().steady_ms, machine.wall_ms());
}

TEST(Timekeeper, TakesAnUnknownBootOrABoottimeThatWentBackForANewBoot) {
  Machine machine = SettledMachine();
  TimeRecord saved = machine.keeper().Record();
  const ClockReading earlier{.wall = absl::FromUnixMillis(machine.wall_ms()),
                             .boottime = absl::Milliseconds(saved.boottime_ms - 1)};
  Timekeeper gone_back = Timekeeper::Start(saved, earlier, saved.boot_id, kGrace);
  EXPECT_EQ(gone_back.Read(earlier).erase_ms, Now::kNeverMs);

  saved.boot_id.clear();
  const ClockReading later{.wall = absl::FromUnixMillis(machine.wall_ms()),
                           .boottime = absl::Milliseconds(saved.boottime_ms + 1)};
  Timekeeper unknown = Timekeeper::Start(saved, later, "", kGrace);
  EXPECT_EQ(unknown.Read(later).erase_ms, Now::kNeverMs);
}

TEST(Timekeeper, DoesNotWaitWhereNothingWasEverStored) {
  const ClockReading first{.wall = absl::FromUnixMillis(kNoonMs),
                           .boottime = absl::Milliseconds(20'000)};
  Timekeeper fresh =
      Timekeeper::Start(std::nullopt, first, "boot", kGrace, Timekeeper::Stored::kNothing);
  EXPECT_EQ(fresh.Read(first).erase_ms, kNoonMs);
  // Nor after a restart, and whatever the grace is then.
  const ClockReading later{.wall = absl::FromUnixMillis(kNoonMs + 60'000),
                           .boottime = absl::Milliseconds(80'000)};
  for (const absl::Duration grace : {kGrace, absl::Minutes(2), absl::Hours(1)}) {
    Timekeeper again = Timekeeper::Start(fresh.Record(), later, "boot", grace);
    EXPECT_EQ(again.Read(later).erase_ms, kNoonMs + 60'000);
    // A wall clock that nobody vouches for does not become the mark.
    EXPECT_EQ(again.Record().high_water_ms, std::numeric_limits<int64_t>::min());
  }
  const ClockReading after_grace{.wall = absl::FromUnixMillis(kNoonMs + kGraceMs),
                                 .boottime = absl::Milliseconds(20'000 + kGraceMs)};
  fresh.Read(after_grace);
  EXPECT_EQ(fresh.Record().high_water_ms, kNoonMs + kGraceMs);
  // The next boot waits as any other.
  const ClockReading next_boot{.wall = absl::FromUnixMillis(kNoonMs + kHourMs),
                               .boottime = absl::Milliseconds(20'000)};
  Timekeeper next =
      Timekeeper::Start(fresh.Record(), next_boot, "boot'", kGrace, Timekeeper::Stored::kNothing);
  EXPECT_EQ(next.Read(next_boot).erase_ms, Now::kNeverMs);
}

TEST(TimeRecord, SurvivesEncoding) {
  const TimeRecord record{.boot_id = "9a3c1b5e-4e0d-4c39-8b6b-6a1f3f6f0c11",
                          .boottime_ms = 50'001,
                          .wall_ms = 1'700'000'000'002,
                          .steady_ms = 1'700'000'000'003,
                          .high_water_ms = std::numeric_limits<int64_t>::min(),
                          .disagreeing_since_ms = 40'004,
                          .erase_from_ms = 90'005};
  const std::string text = record.Encode();
  EXPECT_LE(text.size(), TimeRecord::kEncodedBytesMax);
  const auto decoded = TimeRecord::Decode(text);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->boot_id, record.boot_id);
  EXPECT_EQ(decoded->boottime_ms, record.boottime_ms);
  EXPECT_EQ(decoded->wall_ms, record.wall_ms);
  EXPECT_EQ(decoded->steady_ms, record.steady_ms);
  EXPECT_EQ(decoded->high_water_ms, record.high_water_ms);
  EXPECT_EQ(decoded->disagreeing_since_ms, record.disagreeing_since_ms);
  EXPECT_EQ(decoded->erase_from_ms, record.erase_from_ms);
}

TEST(TimeRecord, RefusesEveryFlippedBitAndEveryTruncation) {
  const std::string text = Machine().keeper().Record().Encode();
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string damaged = text;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    EXPECT_EQ(TimeRecord::Decode(damaged).status().code(), absl::StatusCode::kDataLoss) << bit;
  }
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_EQ(TimeRecord::Decode(text.substr(0, size)).status().code(),
              absl::StatusCode::kDataLoss);
  }
  EXPECT_FALSE(TimeRecord::Decode(text + "\n").ok());
}

}  // namespace
}  // namespace mayfly
