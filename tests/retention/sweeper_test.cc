// The sweeper against a model: a list of stored payloads, swept by a full scan.
#include "retention/sweeper.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <random>
#include <utility>

#include "gtest/gtest.h"

#include "support/random_seed.h"

namespace mayfly {
namespace {

constexpr int64_t kStartMs = 1'700'000'000'000;
constexpr int64_t kMinuteMs = 60'000;
constexpr int64_t kSweptHourMs = 60 * kMinuteMs;
constexpr int64_t kSweeperTickMs = 100;
constexpr size_t kBatchMax = 16;

// Where payloads are stored, and erased when the time has come.
class Shelf : public DueSource, public ExpirySink {
 public:
  Shelf() : sweeper_(this, this, kBatchMax) {}

  void Put(int64_t deadline_ms) {
    DuePayload payload;
    payload.due_s = DueSecond(deadline_ms);
    payload.slot.generation = ++last_generation_;
    stored_[{payload.due_s, payload.slot.generation}] = payload;
    sweeper_.OnStored(payload);
  }

  void SetTime(int64_t erase_ms) { now_ms_ = erase_ms; }
  // As a store does whose queue is full.
  void SetRefuses(bool refuses) { refuses_ = refuses; }
  int handed_over_count() const { return handed_over_count_; }
  // As upkeep does: at once again as long as there is more.
  void Sweep() {
    while (true) {
      const auto has_more = sweeper_.Advance(
          {.read_ms = now_ms_, .erase_ms = now_ms_, .steady_ms = now_ms_, .elapsed_ms = 0});
      ASSERT_TRUE(has_more.ok());
      if (!*has_more) return;
    }
  }
  size_t count() const { return stored_.size(); }
  // Which ought to be erased by now: the wheel may be a tick late.
  size_t due_count() const {
    return static_cast<size_t>(std::count_if(stored_.begin(), stored_.end(), [&](const auto& item) {
      return item.second.due_s * 1000 + kSweeperTickMs <= now_ms_;
    }));
  }
  int64_t lag_ms() { return sweeper_.lag_ms({.read_ms = now_ms_, .erase_ms = now_ms_}); }

  absl::StatusOr<std::vector<DuePayload>> Due(int64_t from_s, int64_t until_s, size_t limit,
                                              const std::optional<DuePayload>& after) override {
    std::vector<DuePayload> due;
    auto next = after ? stored_.upper_bound({after->due_s, after->slot.generation})
                      : stored_.lower_bound({from_s, 0});
    for (; next != stored_.end() && next->first.first <= until_s && due.size() < limit; ++next) {
      due.push_back(next->second);
    }
    return due;
  }
  // Leaves alone what is not due, as the rules do.
  std::vector<DuePayload> Expire(absl::Span<const DuePayload> due) override {
    EXPECT_LE(due.size(), kBatchMax);
    ++handed_over_count_;
    if (refuses_) return {due.begin(), due.end()};
    for (const DuePayload& payload : due) {
      if (payload.due_s * 1000 <= now_ms_) stored_.erase({payload.due_s, payload.slot.generation});
    }
    return {};
  }

 private:
  std::map<std::pair<int64_t, uint64_t>, DuePayload> stored_;
  uint64_t last_generation_ = 0;
  int64_t now_ms_ = kStartMs;
  bool refuses_ = false;
  int handed_over_count_ = 0;
  Sweeper sweeper_;
};

TEST(Sweeper, ErasesEverythingThatIsDueAfterAJumpAheadOfAnyLength) {
  for (const int64_t jump_ms : {int64_t{3000}, 13 * kMinuteMs, 14 * kMinuteMs, 25 * kSweptHourMs}) {
    Shelf shelf;
    shelf.Sweep();
    for (int i = 0; i < 1000; ++i) shelf.Put(kStartMs + i * 100);
    shelf.Put(kStartMs + jump_ms - 1000);
    shelf.Put(kStartMs + jump_ms + 1000);
    shelf.Put(kStartMs + jump_ms + kSweptHourMs);
    shelf.Sweep();
    shelf.SetTime(kStartMs + jump_ms);
    shelf.Sweep();
    EXPECT_EQ(shelf.due_count(), 0u) << jump_ms;
    EXPECT_GE(shelf.count(), 2u);
  }
}

TEST(Sweeper, IsNotBlindAfterAJumpBack) {
  Shelf shelf;
  shelf.Put(kStartMs + kSweptHourMs);
  shelf.Sweep();
  shelf.SetTime(kStartMs - kSweptHourMs);
  shelf.Sweep();
  shelf.Put(kStartMs - kSweptHourMs + 2000);
  shelf.Sweep();
  EXPECT_EQ(shelf.count(), 2u);
  shelf.SetTime(kStartMs - kSweptHourMs + 2000);
  EXPECT_GE(shelf.lag_ms(), 2000) << "it is measured from the sweep before";
  shelf.Sweep();
  EXPECT_EQ(shelf.count(), 1u);
  shelf.SetTime(kStartMs + kSweptHourMs);
  shelf.Sweep();
  EXPECT_EQ(shelf.count(), 0u);
}

TEST(Sweeper, HandsOverAgainWhatWasRefused) {
  Shelf shelf;
  shelf.Put(kStartMs + 1000);
  shelf.Sweep();
  shelf.SetRefuses(true);
  for (int64_t ms = 1000; ms <= 5000; ms += 100) {
    shelf.SetTime(kStartMs + ms);
    shelf.Sweep();
  }
  EXPECT_EQ(shelf.count(), 1u);
  EXPECT_GE(shelf.handed_over_count(), 3);
  EXPECT_LE(shelf.handed_over_count(), 5) << "once a second, not all the time";
  EXPECT_GE(shelf.lag_ms(), 3900) << "it does not count as swept";
  shelf.SetRefuses(false);
  for (int64_t ms = 5000; ms <= 7000; ms += 100) {
    shelf.SetTime(kStartMs + ms);
    shelf.Sweep();
  }
  EXPECT_EQ(shelf.count(), 0u);
  EXPECT_EQ(shelf.lag_ms(), 0);
}

TEST(Sweeper, LeavesNothingThatIsDueHoweverTimeJumps) {
  const uint64_t seed = RandomSeed();
  std::printf("MAYFLY_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 random(seed);
  const auto between = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  Shelf shelf;
  int64_t now_ms = kStartMs;
  for (int step = 0; step < 20'000; ++step) {
    switch (between(0, 9)) {
      case 0:
        now_ms += between(-26, 26) * kSweptHourMs + between(-kMinuteMs, kMinuteMs);
        break;
      case 1:
        now_ms += between(-3000, 3000);
        break;
      case 2:
        now_ms += between(0, 1000 * 1000);
        break;
      default:
        now_ms += between(0, 300);
    }
    shelf.SetTime(now_ms);
    if (between(0, 2) > 0) shelf.Put(now_ms + between(0, 5000));
    if (between(0, 9) == 0) shelf.Put(now_ms + between(0, 24 * kSweptHourMs));
    shelf.Sweep();
    ASSERT_EQ(shelf.due_count(), 0u) << "step " << step;
  }
}

}  // namespace
}  // namespace mayfly
