#include "store/rate_bucket.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace mayfly {
namespace {

constexpr absl::Duration kStart = absl::Hours(100);

TEST(RateBucket, LetsOneSecondsWorthThroughAtOnceAndThenTheRate) {
  RateBucket bucket;
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(bucket.Take(10, 1, kStart).ok()) << i;
  EXPECT_FALSE(bucket.Take(10, 1, kStart).ok());
  EXPECT_FALSE(bucket.Take(10, 1, kStart + absl::Milliseconds(99)).ok());
  EXPECT_TRUE(bucket.Take(10, 1, kStart + absl::Milliseconds(101)).ok());
  EXPECT_FALSE(bucket.Take(10, 1, kStart + absl::Milliseconds(102)).ok());
}

TEST(RateBucket, NeverSavesUpMoreThanOneSecondsWorth) {
  RateBucket bucket;
  EXPECT_TRUE(bucket.Take(10, 10, kStart).ok());
  EXPECT_TRUE(bucket.Take(10, 10, kStart + absl::Hours(1)).ok());
  EXPECT_FALSE(bucket.Take(10, 1, kStart + absl::Hours(1)).ok());
}

TEST(RateBucket, TellsWhenToComeBack) {
  RateBucket bucket;
  ASSERT_TRUE(bucket.Take(10, 8, kStart).ok());
  const absl::Status refused = bucket.Take(10, 5, kStart);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), Reason::kQuotaRate);
  EXPECT_EQ(RetryDelayOf(refused), absl::Milliseconds(300));
  EXPECT_FALSE(bucket.Take(10, 5, kStart + absl::Milliseconds(290)).ok());
  EXPECT_TRUE(bucket.Take(10, 5, kStart + absl::Milliseconds(301)).ok());
}

TEST(RateBucket, ABatchLargerThanTheBucketLeavesADebt) {
  RateBucket bucket;
  EXPECT_TRUE(bucket.Take(10, 512, kStart).ok());
  EXPECT_EQ(RetryDelayOf(bucket.Take(10, 512, kStart)), absl::Milliseconds(51'200));
  EXPECT_FALSE(bucket.Take(10, 1, kStart + absl::Seconds(50)).ok());
  EXPECT_TRUE(bucket.Take(10, 512, kStart + absl::Seconds(52)).ok());
}

TEST(RateBucket, ARefusalTakesNothing) {
  RateBucket bucket;
  ASSERT_TRUE(bucket.Take(10, 5, kStart).ok());
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(bucket.Take(10, 6, kStart).ok());
  EXPECT_TRUE(bucket.Take(10, 5, kStart).ok());
}

}  // namespace
}  // namespace mayfly
