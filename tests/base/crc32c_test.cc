#include "base/crc32c.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "support/random_seed.h"

namespace mayfly {
namespace {

struct Vector {
  const char* name;
  std::vector<uint8_t> data;
  uint32_t crc;
};

// RFC 3720 appendix B.4, whose CRC bytes are printed least significant first.
std::vector<Vector> Rfc3720Vectors() {
  std::vector<uint8_t> up(32), down(32);
  for (size_t i = 0; i < 32; ++i) up[i] = static_cast<uint8_t>(i);
  std::reverse_copy(up.begin(), up.end(), down.begin());
  return {
      {"32 bytes of zeroes", std::vector<uint8_t>(32, 0x00), 0x8a9136aa},
      {"32 bytes of ones", std::vector<uint8_t>(32, 0xff), 0x62a8ab43},
      {"32 bytes of incrementing 00..1f", up, 0x46dd794e},
      {"32 bytes of decrementing 1f..00", down, 0x113fdb5c},
      {"an iSCSI SCSI Read (10) Command PDU",
       {0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00,
        0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18, 0x28, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00},
       0xd9963a56},
  };
}

// The definition: the remainder of a division of polynomials, bit by bit.
uint32_t ByDivision(uint32_t crc, ByteSpan data) {
  constexpr uint32_t kPolynomialReflected = 0x82f63b78;
  uint32_t state = ~crc;
  for (const uint8_t byte : data) {
    state ^= byte;
    for (int bit = 0; bit < 8; ++bit) {
      state = (state & 1) != 0 ? state >> 1 ^ kPolynomialReflected : state >> 1;
    }
  }
  return ~state;
}

TEST(Crc32c, MatchesTheVectorsOfRfc3720) {
  for (const Vector& vector : Rfc3720Vectors()) {
    EXPECT_EQ(Crc32c(vector.data), vector.crc) << vector.name;
    EXPECT_EQ(ByDivision(0, vector.data), vector.crc) << vector.name;
  }
}

TEST(Crc32c, IsTheRemainderAtEveryLengthAndAlignment) {
  const uint64_t seed = RandomSeed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  std::vector<uint8_t> buffer(300);
  for (uint8_t& byte : buffer) byte = static_cast<uint8_t>(random());
  for (size_t offset = 0; offset < 9; ++offset) {
    for (size_t size = 0; size + offset <= buffer.size(); ++size) {
      const ByteSpan data = ByteSpan(buffer).subspan(offset, size);
      ASSERT_EQ(ExtendCrc32c(0x12345678, data), ByDivision(0x12345678, data))
          << offset << " " << size;
    }
  }
}

TEST(Crc32c, ExtendsAcrossEverySplit) {
  const std::string text = "a mayfly lives a day";
  for (size_t split = 0; split <= text.size(); ++split) {
    const uint32_t head = Crc32c(AsBytes(text).first(split));
    EXPECT_EQ(ExtendCrc32c(head, AsBytes(text).subspan(split)), Crc32c(AsBytes(text)));
  }
}

TEST(Crc32c, OfNothingIsZero) { EXPECT_EQ(Crc32c({}), 0); }

// Long enough for stretches that are computed side by side, with all kinds of rests.
TEST(Crc32c, IsTheRemainderOfLongData) {
  std::vector<uint8_t> bytes(20'000);
  std::mt19937_64 random(1);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  for (size_t size = 3000; size < bytes.size(); size += 1 + random() % 700) {
    const ByteSpan data(bytes.data() + size % 9, size - 9);
    ASSERT_EQ(ExtendCrc32c(7, data), ByDivision(7, data)) << size;
  }
}

}  // namespace
}  // namespace mayfly
