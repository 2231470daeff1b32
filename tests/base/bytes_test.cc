#include "base/bytes.h"

#include <cstdint>
#include <limits>
#include <string>

#include "gtest/gtest.h"

namespace mayfly {
namespace {

TEST(Bytes, WritesTheMostSignificantByteFirst) {
  std::string out = "x";
  AppendBigEndian<uint8_t>(&out, 0x01);
  AppendBigEndian<uint16_t>(&out, 0x0203);
  AppendBigEndian<uint32_t>(&out, 0x04050607);
  AppendBigEndian<uint64_t>(&out, 0x08090a0b0c0d0e0f);
  EXPECT_EQ(out, "x\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f");
}

TEST(Bytes, ReadsTheMostSignificantByteFirst) {
  const uint8_t in[] = {0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0xfa, 0xf9, 0xf8};
  EXPECT_EQ(LoadBigEndian<uint8_t>(in), 0xff);
  EXPECT_EQ(LoadBigEndian<uint16_t>(in), 0xfffe);
  EXPECT_EQ(LoadBigEndian<uint32_t>(in), 0xfffefdfcu);
  EXPECT_EQ(LoadBigEndian<uint64_t>(in), 0xfffefdfcfbfaf9f8u);
  EXPECT_EQ(LoadBigEndian<int64_t>(in), static_cast<int64_t>(0xfffefdfcfbfaf9f8u));
}

TEST(Bytes, KeepsTheSignAndTheEndsOfTheRange) {
  for (const int64_t value : {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::min(),
                              std::numeric_limits<int64_t>::max()}) {
    uint8_t buffer[8];
    StoreBigEndian(buffer, value);
    EXPECT_EQ(LoadBigEndian<int64_t>(buffer), value);
  }
}

TEST(Bytes, OrdersKeysAsTheirNumbers) {
  std::string smaller, larger;
  AppendBigEndian<uint32_t>(&smaller, 0x000000ff);
  AppendBigEndian<uint32_t>(&larger, 0x00000100);
  EXPECT_LT(smaller, larger);
}

TEST(Bytes, ViewsTextWithoutLosingZeroBytes) {
  const absl::string_view text("a\0b", 3);
  EXPECT_EQ(AsBytes(text).size(), 3);
  EXPECT_EQ(AsText(AsBytes(text)), text);
}

}  // namespace
}  // namespace mayfly
