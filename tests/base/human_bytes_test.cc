#include "base/human_bytes.h"

#include <gtest/gtest.h>

namespace mayfly {
namespace {

TEST(HumanBytes, RoundsDownToATenthOfTheLargestUnit) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(1023), "1023 B");
  EXPECT_EQ(HumanBytes(1024), "1.0 KiB");
  EXPECT_EQ(HumanBytes(1535), "1.4 KiB");
  EXPECT_EQ(HumanBytes(26'214'400), "25.0 MiB");
  EXPECT_EQ(HumanBytes((uint64_t{1} << 30) - 1), "1023.9 MiB");
  EXPECT_EQ(HumanBytes(uint64_t{3} << 29), "1.5 GiB");
  EXPECT_EQ(HumanBytes(UINT64_MAX), "15.9 EiB");
}

}  // namespace
}  // namespace mayfly
