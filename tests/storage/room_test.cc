#include "storage/room.h"

#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/local/disk_plan.h"

namespace mayfly {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kGiB = 1 << 30;

RoomLimits Limits() {
  return {.reserve_bytes = 10 * kMiB,
          .fixed_bytes = 5 * kMiB,
          .low_bytes = 1 * kMiB,
          .resume_bytes = 3 * kMiB};
}

void Measure(RoomBudget* budget, const RoomUse& use) { budget->Update(budget->Mark(), use); }

TEST(RoomBudget, HasNoRoomBeforeItIsMeasured) {
  RoomBudget budget(Limits());
  EXPECT_TRUE(budget.Reserve(0).empty() || budget.SpareBytes() == 0);
  EXPECT_TRUE(budget.Reserve(1).empty());
}

TEST(RoomBudget, LendsWhatIsLeftOfWhatIsFree) {
  RoomBudget budget(Limits());
  Measure(&budget, {.free_bytes = 200 * kMiB,
                    .memtable_bytes = 16 * kMiB,
                    .compaction_bytes = 50 * kMiB,
                    .live_payloads = 2048,
                    .missing_ballast_bytes = 7 * kMiB});
  // 10 for others, 5 fixed, 17 to flush, 50 to compact, 1 for ends, 7 of ballast.
  EXPECT_EQ(budget.SpareBytes(), static_cast<int64_t>(110 * kMiB));
}

TEST(RoomBudget, CountsWhatWasAdmittedAtOnceAndNotOnlyWhenItIsMeasured) {
  RoomBudget budget(Limits());
  Measure(&budget, {.free_bytes = 25 * kMiB});
  std::vector<RoomLease> leases;
  while (true) {
    RoomLease lease = budget.Reserve(kMiB);
    if (lease.empty()) break;
    leases.push_back(std::move(lease));
  }
  EXPECT_EQ(leases.size(), 10u);
}

TEST(RoomBudget, WhatWasWrittenCountsUntilItIsMeasured) {
  RoomBudget budget(Limits());
  Measure(&budget, {.free_bytes = 25 * kMiB});
  const uint64_t mark = budget.Mark();
  { const RoomLease lease = budget.Reserve(4 * kMiB); }
  EXPECT_EQ(budget.SpareBytes(), static_cast<int64_t>(6 * kMiB));
  // A measurement that began before says nothing about it.
  budget.Update(mark, {.free_bytes = 25 * kMiB});
  EXPECT_EQ(budget.SpareBytes(), static_cast<int64_t>(6 * kMiB));
  Measure(&budget, {.free_bytes = 21 * kMiB, .memtable_bytes = 0});
  EXPECT_EQ(budget.SpareBytes(), static_cast<int64_t>(6 * kMiB));
}

TEST(RoomBudget, WhatIsNotWrittenYetCountsWhateverIsMeasured) {
  RoomBudget budget(Limits());
  Measure(&budget, {.free_bytes = 25 * kMiB});
  const RoomLease lease = budget.Reserve(4 * kMiB);
  Measure(&budget, {.free_bytes = 25 * kMiB});
  EXPECT_EQ(budget.SpareBytes(), static_cast<int64_t>(6 * kMiB));
}

TEST(RoomBudget, APutThatIsTooLargeIsRefusedAlone) {
  RoomBudget budget(Limits());
  Measure(&budget, {.free_bytes = 25 * kMiB});
  EXPECT_TRUE(budget.Reserve(11 * kMiB).empty());
  EXPECT_FALSE(budget.is_full());
  EXPECT_FALSE(budget.Reserve(1).empty());
}

TEST(RoomBudget, OnceFullTakesPutsAgainOnlyWhenThereIsSomeRoom) {
  RoomBudget budget(Limits());
  Measure(&budget, {.free_bytes = 15 * kMiB + kMiB / 2});
  EXPECT_TRUE(budget.is_full());
  EXPECT_TRUE(budget.Reserve(1).empty());
  Measure(&budget, {.free_bytes = 17 * kMiB});
  EXPECT_TRUE(budget.Reserve(1).empty()) << "not before resume_bytes";
  Measure(&budget, {.free_bytes = 18 * kMiB});
  EXPECT_FALSE(budget.Reserve(1).empty());
}

TEST(RoomBudget, RefusesWhileTooManyFilesWaitForACompaction) {
  RoomBudget budget(Limits());
  Measure(&budget, {.free_bytes = kGiB, .compaction_is_behind = true});
  EXPECT_TRUE(budget.Reserve(1).empty());
  EXPECT_EQ(ReasonOf(budget.Refusal(1)), Reason::kOverloaded) << "there is room";
  Measure(&budget, {.free_bytes = kGiB});
  EXPECT_FALSE(budget.Reserve(1).empty());
}

TEST(RoomBudget, SharesWhatIsLeftWithCompactions) {
  RoomBudget budget({});
  EXPECT_EQ(budget.Update(0, {.free_bytes = 100, .compaction_bytes = 20, .mergeable_bytes = 60}),
            60u);
  EXPECT_EQ(budget.SpareBytes(), 40);
  // Where there is little to merge, puts get the more.
  EXPECT_EQ(budget.Update(0, {.free_bytes = 100, .compaction_bytes = 20, .mergeable_bytes = 30}),
            50u);
  EXPECT_EQ(budget.SpareBytes(), 50);
  // A running compaction keeps its room.
  EXPECT_EQ(
      budget.Update(
          0,
          {.free_bytes = 100, .compaction_bytes = 20, .running_bytes = 90, .mergeable_bytes = 60}),
      95u);
  EXPECT_EQ(budget.SpareBytes(), 5);
  EXPECT_EQ(budget.Update(0, {.free_bytes = 10, .compaction_bytes = 20, .mergeable_bytes = 60}),
            10u);
}

// A bound that leaves no room for them would let no compaction begin while flushes follow each other.
TEST(RoomBudget, FilesThatAreFlushedMeanwhileDoNotCountAgainstCompactions) {
  RoomBudget budget({});
  EXPECT_EQ(budget.Update(0, {.free_bytes = 100 * kGiB, .mergeable_bytes = 60}), 60 + 256 * kMiB);
  EXPECT_EQ(budget.SpareBytes(), static_cast<int64_t>(100 * kGiB - 60 - 256 * kMiB));
  // Where room is short, puts are refused soon.
  EXPECT_EQ(budget.Update(0, {.free_bytes = kGiB}), 0u);
  EXPECT_EQ(budget.SpareBytes(), static_cast<int64_t>(kGiB));
}

TEST(RoomBudget, AnyReserveIsUnderstood) {
  RoomBudget budget({.reserve_bytes = UINT64_MAX});
  Measure(&budget, {.free_bytes = UINT64_MAX});
  EXPECT_TRUE(budget.Reserve(1).empty());
}

TEST(RoomBudget, ARefusalNamesWhatIsFreeAndWhatIsNeeded) {
  RoomBudget budget(Limits());
  Measure(&budget, {.free_bytes = 25 * kMiB});
  const absl::Status refusal = budget.Refusal(20 * kMiB);
  EXPECT_EQ(ReasonOf(refusal), Reason::kDiskFull);
  EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GT(RetryDelayOf(refusal), absl::ZeroDuration());
  EXPECT_THAT(std::string(refusal.message()),
              testing::StartsWith("free disk space is 25.0 MiB, needed are 35.0 MiB: 20.0 MiB for "
                                  "the put, 15.0 MiB for acks"));
}

TEST(RoomBudget, NeverLendsMoreThanThereIsToManyThreads) {
  RoomBudget budget({});
  Measure(&budget, {.free_bytes = 1000});
  std::atomic<int> lent{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      std::vector<RoomLease> leases;
      for (int put = 0; put < 1000; ++put) {
        leases.push_back(budget.Reserve(1));
        if (!leases.back().empty()) ++lent;
      }
      for (RoomLease& lease : leases) lease = RoomLease();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(lent, 1000);
  EXPECT_EQ(budget.promised_bytes(), static_cast<uint64_t>(lent.load()));
}

TEST(DiskPlan, KeepsTheSettingOnADiskThatIsLargeEnough) {
  const DiskPlan plan =
      PlanFor({.disk_bytes = 8 * kGiB, .memtable_bytes = 256 * kMiB, .reserve_bytes = 1});
  EXPECT_EQ(plan.memtable_bytes, 256 * kMiB);
  EXPECT_EQ(plan.limits.reserve_bytes, 1u);
}

TEST(DiskPlan, TheSmallestDiskHasRoomForANewStore) {
  for (const uint64_t reserve : {uint64_t{0}, 64 * kMiB, kGiB, 1024 * kGiB}) {
    for (const uint64_t memtable : {16 * kMiB, 256 * kMiB}) {
      const DiskSettings settings = {.memtable_bytes = memtable, .reserve_bytes = reserve};
      const auto needed_on = [&](uint64_t disk_bytes) {
        DiskSettings on_disk = settings;
        on_disk.disk_bytes = disk_bytes;
        return NewStoreBytes(PlanFor(on_disk));
      };
      const uint64_t smallest = SmallestDiskBytes(settings);
      EXPECT_LE(needed_on(smallest), smallest * 7 / 8 + 2);
      EXPECT_GT(needed_on(smallest * 6 / 8), smallest * 6 / 8 * 7 / 8) << "not much too large";
    }
  }
  EXPECT_GT(SmallestDiskBytes({.memtable_bytes = kMiB, .reserve_bytes = UINT64_MAX}), kGiB);
}

// With any settings, the store's reserves leave most of the disk to payloads.
TEST(DiskPlan, FitsAnyDiskWithAnySetting) {
  for (const uint64_t disk : {64 * kMiB, 300 * kMiB, kGiB, 3 * kGiB, 100 * kGiB, 4096 * kGiB}) {
    for (const uint64_t memtable : {16 * kMiB, 256 * kMiB, 8 * kGiB}) {
      const DiskPlan plan = PlanFor({.disk_bytes = disk, .memtable_bytes = memtable});
      // Flush of two sets of memtables, a log of two, four files and a level to compact.
      const uint64_t needed =
          10 * plan.memtable_bytes + plan.ballast_bytes + plan.limits.fixed_bytes;
      EXPECT_LE(needed, disk * 6 / 10) << disk << " " << memtable;
      EXPECT_LT(plan.limits.low_bytes, plan.limits.resume_bytes);
      EXPECT_LE(plan.limits.resume_bytes, disk / 50) << disk << " " << memtable;
      EXPECT_GE(plan.memtable_bytes, kMiB);
    }
  }
}

}  // namespace
}  // namespace mayfly
