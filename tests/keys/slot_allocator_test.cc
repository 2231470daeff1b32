#include "keys/slot_allocator.h"

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/random_seed.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;

std::vector<uint32_t> TakeFrom(SlotAllocator* allocator, size_t count) {
  std::vector<uint32_t> slots;
  allocator->Take(count, &slots);
  return slots;
}

std::set<uint32_t> PagesOf(const std::vector<uint32_t>& slots) {
  std::set<uint32_t> pages;
  for (uint32_t slot : slots) pages.insert(slot / kSlotsPerPage);
  return pages;
}

TEST(SlotAllocator, HandsOutNeighboursOneAfterAnother) {
  SlotAllocator allocator;
  allocator.Grow(4 * kSlotsPerPage);
  EXPECT_THAT(TakeFrom(&allocator, 3), ElementsAre(0, 1, 2));
  EXPECT_THAT(TakeFrom(&allocator, 1), ElementsAre(3));
  std::vector<uint32_t> expected(300);
  std::iota(expected.begin(), expected.end(), 4);
  EXPECT_EQ(TakeFrom(&allocator, 300), expected);
}

TEST(SlotAllocator, PrefersFreePagesAndThenTheEmptiest) {
  SlotAllocator allocator;
  allocator.Grow(4 * kSlotsPerPage);
  std::vector<uint32_t> all = TakeFrom(&allocator, 4 * kSlotsPerPage);
  for (uint32_t i = 0; i < 10; ++i) allocator.Free(0 * kSlotsPerPage + 3 * i);
  for (uint32_t i = 0; i < 40; ++i) allocator.Free(1 * kSlotsPerPage + 2 * i);
  for (uint32_t i = 0; i < kSlotsPerPage; ++i) allocator.Free(2 * kSlotsPerPage + i);
  // The page that was filled last is full, so the next one is the wholly free one.
  EXPECT_THAT(PagesOf(TakeFrom(&allocator, kSlotsPerPage)), ElementsAre(2));
  EXPECT_THAT(PagesOf(TakeFrom(&allocator, 40)), ElementsAre(1));
  EXPECT_THAT(PagesOf(TakeFrom(&allocator, 10)), ElementsAre(0));
  EXPECT_EQ(allocator.free(), 0u);
}

TEST(SlotAllocator, HasNoRoomInPagesThatAreMoreThanHalfFull) {
  SlotAllocator allocator;
  EXPECT_FALSE(allocator.HasRoom(1));
  allocator.Grow(2 * kSlotsPerPage);
  EXPECT_TRUE(allocator.HasRoom(2 * kSlotsPerPage));
  EXPECT_FALSE(allocator.HasRoom(2 * kSlotsPerPage + 1));
  TakeFrom(&allocator, 2 * kSlotsPerPage);
  for (uint32_t i = 0; i < kSlotsPerPage / 2 - 1; ++i) allocator.Free(i);
  EXPECT_FALSE(allocator.HasRoom(1));
  allocator.Free(kSlotsPerPage / 2 - 1);
  EXPECT_TRUE(allocator.HasRoom(kSlotsPerPage / 2));
  EXPECT_FALSE(allocator.HasRoom(kSlotsPerPage / 2 + 1));
  // A page that is being filled counts to its end.
  TakeFrom(&allocator, 10);
  EXPECT_TRUE(allocator.HasRoom(kSlotsPerPage / 2 - 10));
}

TEST(SlotAllocator, AgreesWithASetThroughARandomHistory) {
  const uint64_t seed = RandomSeed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  SlotAllocator allocator;
  std::vector<uint32_t> taken;
  std::set<uint32_t> model;
  for (int step = 0; step < 20000; ++step) {
    const size_t count = 1 + random() % 300;
    if (random() % 2 == 0) {
      if (!allocator.HasRoom(count)) allocator.Grow(4 * kSlotsPerPage);
      const std::vector<uint32_t> slots = TakeFrom(&allocator, count);
      ASSERT_EQ(slots.size(), count);
      for (uint32_t slot : slots) {
        ASSERT_TRUE(model.insert(slot).second) << slot;
        taken.push_back(slot);
      }
    } else {
      for (size_t i = 0; i < count && !taken.empty(); ++i) {
        std::swap(taken[random() % taken.size()], taken.back());
        allocator.Free(taken.back());
        model.erase(taken.back());
        taken.pop_back();
      }
    }
    ASSERT_EQ(allocator.free() + model.size(), allocator.capacity());
    const auto probe = static_cast<uint32_t>(random() % (allocator.capacity() + 1));
    if (probe < allocator.capacity()) {
      ASSERT_EQ(allocator.IsTaken(probe), model.contains(probe));
    }
  }
}

// Shows the benefit of packing: pages written per group when slots are freed in random order. A
// first-fit bitmap would spread a group of 256 over as many pages as it has holes.
TEST(SlotAllocator, KeepsGroupsOnFewPagesWhenSlotsAreFreedInRandomOrder) {
  constexpr size_t kGroup = 256;
  constexpr size_t kLive = 64 * kGroup;
  const uint64_t seed = RandomSeed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  SlotAllocator allocator;
  std::vector<uint32_t> live;
  size_t pages_touched = 0;
  size_t groups = 0;
  for (int round = 0; round < 4000; ++round) {
    while (!allocator.HasRoom(kGroup)) allocator.Grow(8 * kSlotsPerPage);
    const std::vector<uint32_t> slots = TakeFrom(&allocator, kGroup);
    if (round >= 1000) {
      pages_touched += PagesOf(slots).size();
      ++groups;
    }
    live.insert(live.end(), slots.begin(), slots.end());
    while (live.size() > kLive) {
      std::swap(live[random() % live.size()], live.back());
      allocator.Free(live.back());
      live.pop_back();
    }
  }
  const double pages_per_group = static_cast<double>(pages_touched) / static_cast<double>(groups);
  RecordProperty("pages_per_group", std::to_string(pages_per_group));
  EXPECT_LE(pages_per_group, 5.0);
  EXPECT_LE(allocator.capacity(), 2 * kLive + 16 * kSlotsPerPage);
  printf("pages touched per group of %zu: %.2f, capacity %u for %zu live\n", kGroup,
         pages_per_group, allocator.capacity(), kLive);
}

}  // namespace
}  // namespace mayfly
