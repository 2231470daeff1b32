#include "identity/rate_limiter.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace mayfly {
namespace {

constexpr absl::Duration kStart = absl::Hours(100);

TEST(RateLimiter, LetsOneSecondsWorthThroughAtOnceAndThenTheRate) {
  RateLimiter limiter;
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(limiter.Take("a", 10, 1, kStart).ok()) << i;
  EXPECT_FALSE(limiter.Take("a", 10, 1, kStart).ok());
  EXPECT_FALSE(limiter.Take("a", 10, 1, kStart + absl::Milliseconds(99)).ok());
  EXPECT_TRUE(limiter.Take("a", 10, 1, kStart + absl::Milliseconds(101)).ok());
  EXPECT_FALSE(limiter.Take("a", 10, 1, kStart + absl::Milliseconds(102)).ok());
}

TEST(RateLimiter, NeverSavesUpMoreThanOneSecondsWorth) {
  RateLimiter limiter;
  EXPECT_TRUE(limiter.Take("a", 10, 10, kStart).ok());
  EXPECT_TRUE(limiter.Take("a", 10, 10, kStart + absl::Hours(1)).ok());
  EXPECT_FALSE(limiter.Take("a", 10, 1, kStart + absl::Hours(1)).ok());
}

TEST(RateLimiter, TellsWhenToComeBack) {
  RateLimiter limiter;
  ASSERT_TRUE(limiter.Take("a", 10, 8, kStart).ok());
  const absl::Status refused = limiter.Take("a", 10, 5, kStart);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), Reason::kQuotaRate);
  EXPECT_EQ(RetryDelayOf(refused), absl::Milliseconds(300));
  EXPECT_FALSE(limiter.Take("a", 10, 5, kStart + absl::Milliseconds(290)).ok());
  EXPECT_TRUE(limiter.Take("a", 10, 5, kStart + absl::Milliseconds(301)).ok());
}

TEST(RateLimiter, ABatchLargerThanTheBucketLeavesADebt) {
  RateLimiter limiter;
  EXPECT_TRUE(limiter.Take("a", 10, 512, kStart).ok());
  EXPECT_EQ(RetryDelayOf(limiter.Take("a", 10, 512, kStart)), absl::Milliseconds(51'200));
  EXPECT_FALSE(limiter.Take("a", 10, 1, kStart + absl::Seconds(50)).ok());
  EXPECT_TRUE(limiter.Take("a", 10, 512, kStart + absl::Seconds(52)).ok());
}

TEST(RateLimiter, TenantsDoNotShareABucket) {
  RateLimiter limiter;
  EXPECT_TRUE(limiter.Take("a", 1, 1, kStart).ok());
  EXPECT_FALSE(limiter.Take("a", 1, 1, kStart).ok());
  EXPECT_TRUE(limiter.Take("b", 1, 1, kStart).ok());
}

TEST(RateLimiter, ARefusalTakesNothing) {
  RateLimiter limiter;
  ASSERT_TRUE(limiter.Take("a", 10, 5, kStart).ok());
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(limiter.Take("a", 10, 6, kStart).ok());
  EXPECT_TRUE(limiter.Take("a", 10, 5, kStart).ok());
}

}  // namespace
}  // namespace mayfly
