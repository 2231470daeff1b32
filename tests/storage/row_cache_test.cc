#include "storage/local/row_cache.h"

#include <map>
#include <random>

#include "gtest/gtest.h"

#include "support/random_seed.h"

namespace mayfly {
namespace {

Sealed RowOf(const std::string& text) { return Sealed::CopyOf(AsBytes(text)); }

SlotRef SlotOf(uint64_t generation) { return {.slot = 1, .generation = generation}; }

TEST(RowCache, FindsWhatWasStoredUntilItIsRemoved) {
  RowCache cache(1 << 20);
  cache.Store(SlotOf(1), RowOf("one"));
  ASSERT_TRUE(cache.Find(SlotOf(1)).has_value());
  EXPECT_EQ(AsText(cache.Find(SlotOf(1))->bytes()), "one");
  EXPECT_FALSE(cache.Find(SlotOf(2)).has_value());
  cache.Remove(SlotOf(1));
  EXPECT_FALSE(cache.Find(SlotOf(1)).has_value());
}

TEST(RowCache, NeverHoldsMoreThanItsBound) {
  constexpr size_t kBytesMax = 64 << 10;
  RowCache cache(kBytesMax);
  for (uint64_t i = 0; i < 10'000; ++i) cache.Store(SlotOf(i), RowOf(std::string(700, 'x')));
  size_t found = 0;
  for (uint64_t i = 0; i < 10'000; ++i) found += cache.Find(SlotOf(i)).has_value();
  EXPECT_LE(found * 700, kBytesMax);
  EXPECT_GE(found * 700, kBytesMax / 2);
  // The latest stay.
  EXPECT_TRUE(cache.Find(SlotOf(9'999)).has_value());
  EXPECT_FALSE(cache.Find(SlotOf(0)).has_value());
}

TEST(RowCache, KeepsNothingThatIsLargerThanItsShare) {
  RowCache cache(16 << 10);
  cache.Store(SlotOf(1), RowOf(std::string(2000, 'x')));
  EXPECT_FALSE(cache.Find(SlotOf(1)).has_value());
  RowCache none(0);
  none.Store(SlotOf(1), RowOf("x"));
  EXPECT_FALSE(none.Find(SlotOf(1)).has_value());
}

TEST(RowCache, IsAMapWithHoles) {
  const uint64_t seed = RandomSeed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  RowCache cache(32 << 10);
  std::map<uint64_t, std::string> model;
  for (uint64_t step = 1; step < 50'000; ++step) {
    const uint64_t generation = random() % step;
    if (random() % 2 == 0) {
      model[step] = std::string(random() % 1500, static_cast<char>('a' + step % 26));
      cache.Store(SlotOf(step), RowOf(model[step]));
    } else if (random() % 2 == 0) {
      model.erase(generation);
      cache.Remove(SlotOf(generation));
    }
    const std::optional<Sealed> found = cache.Find(SlotOf(generation));
    if (!found) continue;
    ASSERT_TRUE(model.contains(generation));
    ASSERT_EQ(AsText(found->bytes()), model[generation]);
  }
}

}  // namespace
}  // namespace mayfly
