#include "crypto/constant_time.h"

#include "gtest/gtest.h"

namespace mayfly {
namespace {

TEST(EqualInConstantTime, ComparesEveryByteAndTheLength) {
  EXPECT_TRUE(EqualInConstantTime(AsBytes("token"), AsBytes("token")));
  EXPECT_TRUE(EqualInConstantTime(ByteSpan(), AsBytes("")));
  EXPECT_FALSE(EqualInConstantTime(AsBytes("token"), AsBytes("Token")));
  EXPECT_FALSE(EqualInConstantTime(AsBytes("token"), AsBytes("tokem")));
  EXPECT_FALSE(EqualInConstantTime(AsBytes("token"), AsBytes("tokens")));
  EXPECT_FALSE(EqualInConstantTime(AsBytes("token"), ByteSpan()));
}

}  // namespace
}  // namespace mayfly
