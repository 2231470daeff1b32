#include "storage/local/call_index.h"

#include <unordered_map>

#include "absl/hash/hash.h"
#include "gtest/gtest.h"

#include "storage/storage_harness.h"
#include "support/random_seed.h"

namespace mayfly {
namespace {

CallRows RowsWith(uint32_t slot) {
  CallRows rows;
  rows.input = StoredPayload{.slot = {.slot = slot, .generation = 7}};
  return rows;
}

TEST(CallIndex, FindsWhatWasStoredLastAndNothingRemoved) {
  CallIndex index(1000);
  index.Store(TestKey(1), RowsWith(1));
  index.Store(TestKey(1), RowsWith(2));
  EXPECT_EQ(index.Find(TestKey(1))->input->slot.slot, 2u);
  EXPECT_FALSE(index.Find(TestKey(1, /*tenant=*/2)).has_value());
  index.Remove(TestKey(1));
  EXPECT_FALSE(index.Find(TestKey(1)).has_value());
  EXPECT_EQ(index.size(), 0u);
}

TEST(CallIndex, NeverHoldsMoreThanItsBound) {
  CallIndex index(160);
  for (uint32_t i = 0; i < 10'000; ++i) index.Store(TestKey(i), RowsWith(i));
  EXPECT_LE(index.size(), 160u);
  EXPECT_GE(index.size(), 100u);
}

TEST(CallIndex, GivesUpWhatWasNotAskedForBeforeWhatWas) {
  CallIndex index(1600);
  for (uint32_t i = 0; i < 1000; ++i) index.Store(TestKey(i), RowsWith(i));
  size_t kept = 0;
  for (uint32_t i = 1000; i < 21'000; ++i) {
    index.Store(TestKey(i), RowsWith(i));
    kept = 0;
    // The first hundred are asked for all the time.
    for (uint32_t hot = 0; hot < 100; ++hot) kept += index.Find(TestKey(hot)).has_value();
  }
  // An entry may be hit by the hand between two of its uses, but hardly ever is.
  EXPECT_GE(kept, 95u);
}

TEST(CallIndex, IsAMapWithHoles) {
  const uint64_t seed = RandomSeed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  CallIndex index(320);
  std::unordered_map<CallKey, uint32_t, absl::Hash<CallKey>> model;
  for (uint32_t step = 0; step < 100'000; ++step) {
    const CallKey key = TestKey(static_cast<uint32_t>(random() % 1000));
    switch (random() % 3) {
      case 0:
        index.Store(key, RowsWith(step));
        model[key] = step;
        break;
      case 1:
        index.Remove(key);
        model.erase(key);
        break;
      default:
        const auto found = index.Find(key);
        if (!found) break;
        ASSERT_TRUE(model.contains(key)) << "step " << step;
        ASSERT_EQ(found->input->slot.slot, model[key]) << "step " << step;
    }
  }
}

}  // namespace
}  // namespace mayfly
