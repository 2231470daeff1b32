#include "rpc/header_guard.h"

#include <string>

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace mayfly {
namespace {

constexpr size_t kMetadataBytesMax = 64 << 10;
constexpr size_t kFrameBytes = 16 << 10;
constexpr uint8_t kData = 0x0;
constexpr uint8_t kHeaders = 0x1;
constexpr uint8_t kSettings = 0x4;
constexpr uint8_t kContinuation = 0x9;

std::string Frame(uint8_t type, size_t size, char fill = '\x09') {
  std::string frame = {static_cast<char>(size >> 16),
                       static_cast<char>(size >> 8),
                       static_cast<char>(size),
                       static_cast<char>(type),
                       0,
                       0,
                       0,
                       0,
                       1};
  return frame + std::string(size, fill);
}

class HeaderGuardTest : public ::testing::Test {
 protected:
  HeaderGuardTest() { EXPECT_TRUE(Feed("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(kSettings, 0))); }

  bool Feed(const std::string& bytes) { return guard_.Feed(AsBytes(bytes)); }

  HeaderGuard guard_{kMetadataBytesMax};
};

TEST_F(HeaderGuardTest, TakesBlocksUpToTheLimitAsOftenAsTheyCome) {
  for (int call = 0; call < 1000; ++call) {
    ASSERT_TRUE(Feed(Frame(kHeaders, kFrameBytes)));
    for (size_t sent = kFrameBytes; sent < kMetadataBytesMax; sent += kFrameBytes) {
      ASSERT_TRUE(Feed(Frame(kContinuation, kFrameBytes)));
    }
    ASSERT_TRUE(Feed(Frame(kData, 1 << 20)));
  }
}

TEST_F(HeaderGuardTest, RefusesALargerBlockWhenItsFrameIsAnnounced) {
  EXPECT_TRUE(Feed(Frame(kHeaders, kFrameBytes)));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Feed(Frame(kContinuation, kFrameBytes)));
  EXPECT_FALSE(Feed(Frame(kContinuation, kFrameBytes).substr(0, 9)));
}

TEST_F(HeaderGuardTest, RefusesOneLargeFrame) {
  EXPECT_FALSE(Feed(Frame(kHeaders, 2 * kMetadataBytesMax).substr(0, 9)));
}

TEST_F(HeaderGuardTest, RefusesManySmallOrEmptyFrames) {
  EXPECT_TRUE(Feed(Frame(kHeaders, 1)));
  int taken = 0;
  while (taken < 1000 && Feed(Frame(kContinuation, 0))) ++taken;
  EXPECT_LE(taken, 5);
}

TEST_F(HeaderGuardTest, FindsFramesWhereverTheBytesAreCut) {
  std::string bytes = Frame(kData, 300) + Frame(kHeaders, 200) + Frame(kContinuation, 0);
  for (char byte : bytes) EXPECT_TRUE(Feed(std::string(1, byte)));
  const std::string large = Frame(kHeaders, 2 * kMetadataBytesMax).substr(0, 9);
  for (size_t i = 0; i < 8; ++i) EXPECT_TRUE(Feed(large.substr(i, 1)));
  EXPECT_FALSE(Feed(large.substr(8)));
}

// The fill of a frame is no frame: what follows is found by its length alone.
TEST_F(HeaderGuardTest, DoesNotTakePayloadForFrames) {
  EXPECT_TRUE(Feed(Frame(kData, 1 << 20, '\x01')));
  EXPECT_TRUE(Feed(Frame(kHeaders, 10)));
}

}  // namespace
}  // namespace mayfly
