#include "retention/timer_wheel.h"

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "support/random_seed.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();
constexpr int64_t kTickMs = 100;

std::vector<uint64_t> AdvanceTo(TimerWheel* wheel, int64_t now_ms, size_t limit = kNoLimit) {
  std::vector<uint64_t> due;
  const size_t count = wheel->Advance(now_ms, limit, &due);
  EXPECT_EQ(count, due.size());
  return due;
}

TimerWheel::Handle MustSchedule(TimerWheel* wheel, int64_t deadline_ms, uint64_t id) {
  const auto handle = wheel->Schedule(deadline_ms, id);
  EXPECT_TRUE(handle.has_value()) << "deadline " << deadline_ms << " ms";
  return handle.value_or(TimerWheel::Handle{});
}

TEST(TimerWheel, ReturnsNothingBeforeItsDeadline) {
  for (int64_t deadline_ms = 1; deadline_ms <= 3 * kTickMs; ++deadline_ms) {
    TimerWheel wheel({});
    MustSchedule(&wheel, deadline_ms, 7);
    EXPECT_THAT(AdvanceTo(&wheel, deadline_ms - 1), IsEmpty()) << deadline_ms;
    EXPECT_THAT(AdvanceTo(&wheel, deadline_ms + kTickMs - 1), ElementsAre(7)) << deadline_ms;
  }
}

TEST(TimerWheel, ReturnsADeadlineOnATickAtThatTick) {
  TimerWheel wheel({.start_ms = 1'000'000'000'123});
  MustSchedule(&wheel, 1'000'000'000'323, 7);
  EXPECT_THAT(AdvanceTo(&wheel, 1'000'000'000'322), IsEmpty());
  EXPECT_THAT(AdvanceTo(&wheel, 1'000'000'000'323), ElementsAre(7));
}

TEST(TimerWheel, ReturnsWhatIsPastAlreadyAtTheNextAdvance) {
  TimerWheel wheel({});
  AdvanceTo(&wheel, 550);
  MustSchedule(&wheel, 550, 1);
  MustSchedule(&wheel, -5, 2);
  MustSchedule(&wheel, std::numeric_limits<int64_t>::min(), 3);
  EXPECT_THAT(AdvanceTo(&wheel, 550), ElementsAre(1, 2, 3));
}

TEST(TimerWheel, RefusesWhatLiesBeyondTheHorizon) {
  TimerWheel wheel({.slot_count = 64});
  EXPECT_EQ(wheel.horizon_ms(), 6400);
  EXPECT_FALSE(wheel.Schedule(6401, 1).has_value());
  EXPECT_FALSE(wheel.Schedule(std::numeric_limits<int64_t>::max(), 1).has_value());
  EXPECT_EQ(wheel.size(), 0);

  MustSchedule(&wheel, 6400, 1);
  EXPECT_THAT(AdvanceTo(&wheel, 6399), IsEmpty());
  EXPECT_THAT(AdvanceTo(&wheel, 6400), ElementsAre(1));
  EXPECT_EQ(wheel.horizon_ms(), 12800);
}

TEST(TimerWheel, HasAHorizonOf819SecondsByDefault) {
  EXPECT_EQ(TimerWheel({.start_ms = 5}).horizon_ms(), 5 + 819'200);
}

TEST(TimerWheel, KeepsItsHorizonWhileABacklogWaits) {
  TimerWheel wheel({.slot_count = 64});
  for (uint64_t id = 0; id < 10; ++id) MustSchedule(&wheel, 100, id);
  EXPECT_THAT(AdvanceTo(&wheel, 5000, 1), ElementsAre(0));
  EXPECT_EQ(wheel.horizon_ms(), 5000 + 6400);
  MustSchedule(&wheel, 5000 + 6400, 10);
  EXPECT_THAT(AdvanceTo(&wheel, 11'399, 8), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_THAT(AdvanceTo(&wheel, 11'400), ElementsAre(9, 10));
}

TEST(TimerWheel, IgnoresATimeThatGoesBack) {
  TimerWheel wheel({});
  AdvanceTo(&wheel, 1000);
  MustSchedule(&wheel, 1100, 1);
  EXPECT_THAT(AdvanceTo(&wheel, 0), IsEmpty());
  EXPECT_EQ(wheel.horizon_ms(), 1000 + 819'200);
  EXPECT_THAT(AdvanceTo(&wheel, 1100), ElementsAre(1));
}

TEST(TimerWheel, HandsOutTicksInOrderAfterALongJump) {
  TimerWheel wheel({.slot_count = 64});
  AdvanceTo(&wheel, 3000);  // so that the ring wraps between the items
  MustSchedule(&wheel, 9000, 5);
  MustSchedule(&wheel, 3100, 1);
  MustSchedule(&wheel, 6400, 4);
  MustSchedule(&wheel, 3101, 2);
  MustSchedule(&wheel, 3200, 3);
  EXPECT_THAT(AdvanceTo(&wheel, int64_t{1} << 60), ElementsAre(1, 2, 3, 4, 5));
}

TEST(TimerWheel, CancelsWhatIsDueButNotYetHandedOut) {
  TimerWheel wheel({});
  MustSchedule(&wheel, 100, 1);
  const auto second = MustSchedule(&wheel, 100, 2);
  MustSchedule(&wheel, 100, 3);
  EXPECT_THAT(AdvanceTo(&wheel, 100, 1), ElementsAre(1));
  EXPECT_TRUE(wheel.Cancel(second));
  EXPECT_THAT(AdvanceTo(&wheel, 100), ElementsAre(3));
}

TEST(TimerWheel, DetectsStaleHandles) {
  TimerWheel wheel({});
  EXPECT_FALSE(wheel.Cancel({}));
  const auto cancelled = MustSchedule(&wheel, 100, 1);
  EXPECT_TRUE(wheel.Cancel(cancelled));
  EXPECT_FALSE(wheel.Cancel(cancelled));

  const auto fired = MustSchedule(&wheel, 100, 2);
  EXPECT_THAT(AdvanceTo(&wheel, 100), ElementsAre(2));
  EXPECT_FALSE(wheel.Cancel(fired));

  const auto reused = MustSchedule(&wheel, 300, 3);
  ASSERT_EQ(reused.place, fired.place) << "the point of the test is a place used again";
  EXPECT_FALSE(wheel.Cancel(fired));
  EXPECT_FALSE(wheel.Cancel(cancelled));
  EXPECT_TRUE(wheel.Cancel(reused));
}

TEST(TimerWheel, DetectsStaleHandlesAfterItsMemoryWasReleased) {
  TimerWheel wheel({});
  std::vector<TimerWheel::Handle> stale;
  for (uint64_t id = 0; id < 10'000; ++id) stale.push_back(MustSchedule(&wheel, 100, id));
  AdvanceTo(&wheel, 100);
  for (const auto& handle : stale) ASSERT_FALSE(wheel.Cancel(handle));
  for (uint64_t id = 0; id < 10'000; ++id) MustSchedule(&wheel, 200, id);
  for (const auto& handle : stale) ASSERT_FALSE(wheel.Cancel(handle));
  EXPECT_EQ(wheel.size(), 10'000);
}

TEST(TimerWheel, TakesAtMost24BytesPerItem) {
  TimerWheel wheel({});
  const size_t bytes_before = wheel.memory_bytes();
  constexpr uint64_t kItems = 1'000'000;
  for (uint64_t id = 0; id < kItems; ++id) {
    MustSchedule(&wheel, static_cast<int64_t>(id * 7919 % 819'200), id);
  }
  EXPECT_LE(wheel.memory_bytes() - bytes_before, 24 * kItems);
  EXPECT_LE(bytes_before, 68 << 10);
}

TEST(TimerWheel, ReleasesItsMemoryWhenItBecomesEmpty) {
  TimerWheel wheel({});
  MustSchedule(&wheel, 100, 0);
  const size_t bytes_of_one = wheel.memory_bytes();
  for (uint64_t id = 1; id < 100'000; ++id) MustSchedule(&wheel, 100, id);
  EXPECT_GT(wheel.memory_bytes(), 10 * bytes_of_one);
  AdvanceTo(&wheel, 100);
  EXPECT_EQ(wheel.memory_bytes(), bytes_of_one);
}

TEST(TimerWheel, RefusesOptionsThatItCannotKeep) {
  EXPECT_DEATH(TimerWheel({.slot_count = 100}), "power of two");
  EXPECT_DEATH(TimerWheel({.slot_count = 32}), "at least 64");
  EXPECT_DEATH(TimerWheel({.tick_ms = 0}), "at least a millisecond");
  EXPECT_DEATH(TimerWheel({.tick_ms = 1 << 20}), "below 2\\^32 ms");
}

// The expected behaviour, with a multimap: an item becomes due when the current time passes its
// rounded deadline, and goes to the end of the due queue.
class Model {
 public:
  Model(int64_t tick_ms, int64_t start_ms)
      : tick_ms_(tick_ms), start_ms_(start_ms), now_ms_(start_ms) {}

  void Schedule(int64_t deadline_ms, uint64_t id) {
    if (deadline_ms <= now_ms_) {
      due_.push_back(id);
      return;
    }
    int64_t rounded_ms = start_ms_ + (deadline_ms - start_ms_) / tick_ms_ * tick_ms_;
    if (rounded_ms < deadline_ms) rounded_ms += tick_ms_;
    waiting_.emplace(rounded_ms, id);
  }

  bool Cancel(uint64_t id) {
    for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
      if (it->second == id) return waiting_.erase(it), true;
    }
    return std::erase(due_, id) > 0;
  }

  std::vector<uint64_t> Advance(int64_t now_ms, size_t limit) {
    now_ms_ = std::max(now_ms_, now_ms);
    while (!waiting_.empty() && waiting_.begin()->first <= now_ms_) {
      due_.push_back(waiting_.begin()->second);
      waiting_.erase(waiting_.begin());
    }
    const auto end = due_.begin() + static_cast<ptrdiff_t>(std::min(limit, due_.size()));
    std::vector<uint64_t> handed_out(due_.begin(), end);
    due_.erase(due_.begin(), end);
    return handed_out;
  }

  size_t size() const { return waiting_.size() + due_.size(); }

 private:
  int64_t tick_ms_;
  int64_t start_ms_;
  int64_t now_ms_;
  std::multimap<int64_t, uint64_t> waiting_;  // equal keys stay in the order of insertion
  std::vector<uint64_t> due_;
};

// One random history of a wheel and a model side by side.
class History {
 public:
  History(uint64_t seed, const TimerWheel::Options& options)
      : random_(seed),
        tick_ms_(options.tick_ms),
        now_ms_(options.start_ms),
        wheel_(options),
        model_(options.tick_ms, options.start_ms) {}

  void Step() {
    const int64_t kind = Below(100);
    if (kind < 55) {
      Schedule();
    } else if (kind < 75) {
      Cancel();
    } else {
      Advance();
    }
    ASSERT_EQ(wheel_.size(), model_.size());
  }

 private:
  int64_t Below(int64_t bound) {
    return std::uniform_int_distribution<int64_t>(0, bound - 1)(random_);
  }

  void Schedule() {
    const int64_t span_ms = wheel_.horizon_ms() - now_ms_;
    const int64_t deadline_ms = now_ms_ - 3 * tick_ms_ + Below(span_ms + 6 * tick_ms_);
    const auto handle = wheel_.Schedule(deadline_ms, next_id_);
    ASSERT_EQ(handle.has_value(), deadline_ms <= wheel_.horizon_ms());
    if (!handle.has_value()) return;
    model_.Schedule(deadline_ms, next_id_);
    handles_.emplace_back(*handle, next_id_);
    deadlines_ms_[next_id_] = deadline_ms;
    ++next_id_;
  }

  // Any handle ever given: fresh, fired or cancelled.
  void Cancel() {
    if (handles_.empty()) return;
    const auto& [handle, id] = handles_[static_cast<size_t>(Below(std::ssize(handles_)))];
    ASSERT_EQ(wheel_.Cancel(handle), model_.Cancel(id)) << "id " << id;
  }

  void Advance() {
    const int64_t span_ms = wheel_.horizon_ms() - now_ms_;
    const int64_t step = Below(20);
    if (step == 0) {
      now_ms_ += Below(5 * span_ms);
    } else {
      now_ms_ += Below(step < 10 ? tick_ms_ : span_ms / 16);
    }
    const int64_t given_ms = step == 1 ? now_ms_ - span_ms : now_ms_;  // a time that goes back
    const size_t limit = static_cast<size_t>(Below(step < 15 ? 8 : 1000));
    std::vector<uint64_t> due;
    ASSERT_LE(wheel_.Advance(given_ms, limit, &due), limit);
    ASSERT_EQ(due, model_.Advance(given_ms, limit));
    for (uint64_t id : due) ASSERT_LE(deadlines_ms_[id], now_ms_) << "early, id " << id;
  }

  std::mt19937_64 random_;
  int64_t tick_ms_;
  int64_t now_ms_;
  TimerWheel wheel_;
  Model model_;
  std::vector<std::pair<TimerWheel::Handle, uint64_t>> handles_;
  std::map<uint64_t, int64_t> deadlines_ms_;
  uint64_t next_id_ = uint64_t{1} << 63;
};

TEST(TimerWheel, DoesWhatANaiveModelDoes) {
  const uint64_t seed = RandomSeed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  const TimerWheel::Options kOptions[] = {
      {.start_ms = 0, .tick_ms = 100, .slot_count = 64},
      {.start_ms = 1'700'000'000'123, .tick_ms = 1, .slot_count = 128},
      {.start_ms = -777, .tick_ms = 7, .slot_count = 1024},
      {.start_ms = 1'700'000'000'123},
  };
  for (uint64_t round = 0; round < 40; ++round) {
    History history(seed + round, kOptions[round % std::size(kOptions)]);
    for (int step = 0; step < 2000; ++step) {
      SCOPED_TRACE(testing::Message() << "round " << round << " step " << step);
      history.Step();
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace mayfly
