#include "rpc/frame_guard.h"

#include <string>

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace mayfly {
namespace {

constexpr size_t kMetadataBytesMax = 64 << 10;
constexpr size_t kFrameBytes = 16 << 10;
constexpr uint8_t kData = 0x0;
constexpr uint8_t kHeaders = 0x1;
constexpr uint8_t kResetStream = 0x3;
constexpr uint8_t kSettings = 0x4;
constexpr uint8_t kContinuation = 0x9;

std::string Frame(uint8_t type, size_t size, char fill = 0) {
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

// A frame of kFrameBytes with one field.
std::string FullFrame(uint8_t type) {
  const std::string field = std::string("\x00\x01x\x7f\xfb\x7e", 6);  // 127 + 16,251 bytes
  return Frame(type, kFrameBytes).substr(0, 9) + field + std::string(kFrameBytes - 6, 'v');
}

class FrameGuardTest : public ::testing::Test {
 protected:
  FrameGuardTest() { EXPECT_TRUE(Feed("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(kSettings, 0))); }

  FrameGuard::Verdict FeedGuard(std::string bytes) {
    return guard_.Feed({reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()}, now_);
  }
  bool Feed(const std::string& bytes) { return FeedGuard(bytes) == FrameGuard::Verdict::kFine; }
  // How many of them it takes at once.
  int64_t ResetAsOftenAsAllowed() {
    const std::string reset = Frame(kResetStream, 4);
    int64_t taken = 0;
    while (taken <= 10 * kConnectionResets.burst && Feed(reset)) ++taken;
    return taken;
  }

  SharedResetBudgets shared_resets_;
  std::atomic<uint64_t> large_bytes_{0};
  FrameGuard guard_{{.metadata_bytes_max = kMetadataBytesMax, .message_bytes_max = 2 << 20},
                    &large_bytes_,
                    &shared_resets_,
                    {.address = "A", .tenant = "T"}};
  absl::Duration now_ = absl::Hours(1);
};

TEST_F(FrameGuardTest, TakesBlocksUpToTheLimitAsOftenAsTheyCome) {
  for (int call = 0; call < 1000; ++call) {
    ASSERT_TRUE(Feed(FullFrame(kHeaders)));
    for (size_t sent = kFrameBytes; sent < kMetadataBytesMax; sent += kFrameBytes) {
      ASSERT_TRUE(Feed(FullFrame(kContinuation)));
    }
    ASSERT_TRUE(Feed(Frame(kData, 1 << 20)));
  }
}

TEST_F(FrameGuardTest, RefusesALargerBlockWhenItsFrameIsAnnounced) {
  EXPECT_TRUE(Feed(FullFrame(kHeaders)));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Feed(FullFrame(kContinuation)));
  EXPECT_FALSE(Feed(FullFrame(kContinuation).substr(0, 9)));
}

TEST_F(FrameGuardTest, RefusesOneLargeFrame) {
  EXPECT_FALSE(Feed(Frame(kHeaders, 2 * kMetadataBytesMax).substr(0, 9)));
}

TEST_F(FrameGuardTest, RefusesManySmallOrEmptyFrames) {
  EXPECT_TRUE(Feed(Frame(kHeaders, 1)));
  int taken = 0;
  while (taken < 1000 && Feed(Frame(kContinuation, 0))) ++taken;
  EXPECT_LE(taken, 5);
}

TEST_F(FrameGuardTest, FindsFramesWhereverTheBytesAreCut) {
  std::string bytes = Frame(kData, 300) + Frame(kHeaders, 200) + Frame(kContinuation, 0);
  for (char byte : bytes) EXPECT_TRUE(Feed(std::string(1, byte)));
  const std::string large = Frame(kHeaders, 2 * kMetadataBytesMax).substr(0, 9);
  for (size_t i = 0; i < 8; ++i) EXPECT_TRUE(Feed(large.substr(i, 1)));
  EXPECT_FALSE(Feed(large.substr(8)));
}

size_t FieldsOf(const std::string& block, size_t part_bytes) {
  FieldCounter counter;
  for (size_t i = 0; i < block.size(); i += part_bytes) {
    counter.Feed(AsBytes(block.substr(i, part_bytes)));
  }
  return counter.count();
}

// RFC 7541, appendix C.
TEST(FieldCounterTest, CountsThePublishedExamples) {
  const std::string requests[] = {
      // C.3.1: three indexed fields and a literal with an indexed name.
      "\x82\x86\x84\x41\x0fwww.example.com",
      // C.3.3: four indexed fields and a literal with a new name.
      "\x82\x87\x85\xbf\x40\x0a"
      "custom-key\x0c"
      "custom-value",
      // C.4.2, with Huffman coding: four indexed fields and a literal.
      "\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
  };
  const size_t counts[] = {4, 5, 5};
  for (int i = 0; i < 3; ++i) {
    for (size_t part_bytes = 1; part_bytes < 40; ++part_bytes) {
      EXPECT_EQ(FieldsOf(requests[i], part_bytes), counts[i]) << i << " by " << part_bytes;
    }
  }
}

TEST(FieldCounterTest, SkipsLongStringsAndNumbersOfSeveralBytes) {
  const std::string value(300, '\x80');
  const std::string literal = std::string("\x00\x01x\x7f", 4) + "\xad\x01" + value;  // 127 + 173
  const std::string indexed("\xff\x81\x00", 3);
  EXPECT_EQ(FieldsOf(literal + literal + indexed + literal, 7), 4u);
}

TEST_F(FrameGuardTest, RefusesMoreFieldsThanTheLimitHasRoomFor) {
  EXPECT_TRUE(Feed(Frame(kHeaders, 2000, '\x88')));
  EXPECT_TRUE(Feed(Frame(kHeaders, 2000, '\x88')));
  EXPECT_FALSE(Feed(Frame(kContinuation, 100, '\x88')));
}

// The fill of a frame is no frame: what follows is found by its length alone.
TEST_F(FrameGuardTest, DoesNotTakePayloadForFrames) {
  EXPECT_TRUE(Feed(Frame(kData, 1 << 20, '\x01')));
  EXPECT_TRUE(Feed(Frame(kHeaders, 10)));
}

TEST_F(FrameGuardTest, RefusesResetsBeyondABurstAndARate) {
  const std::string reset = Frame(kResetStream, 4);
  for (int64_t i = 0; i < kConnectionResets.burst; ++i) ASSERT_TRUE(Feed(reset));
  EXPECT_EQ(FeedGuard(reset), FrameGuard::Verdict::kTooManyResets);
}

TEST_F(FrameGuardTest, TakesResetsAtTheRateForGood) {
  for (int second = 0; second < 100; ++second) {
    now_ += absl::Seconds(1);
    for (int64_t i = 0; i < kConnectionResets.per_second; ++i) {
      ASSERT_TRUE(Feed(Frame(kHeaders, 10) + Frame(kResetStream, 4)));
    }
  }
}

TEST_F(FrameGuardTest, ABurstIsWholeAgainAfterAWhile) {
  for (int round = 0; round < 3; ++round) {
    for (int64_t i = 0; i < kConnectionResets.burst; ++i) ASSERT_TRUE(Feed(Frame(kResetStream, 4)));
    now_ += absl::Seconds(kConnectionResets.burst / kConnectionResets.per_second);
  }
  EXPECT_EQ(ResetAsOftenAsAllowed(), kConnectionResets.burst);
}

TEST_F(FrameGuardTest, RefusesResetsThatOtherConnectionsOfItsPeerHaveUsedUp) {
  for (int64_t i = 0; i < kPeerResets.burst; ++i) {
    ASSERT_TRUE(shared_resets_.Take({.address = "B", .tenant = "T"}, now_));
  }
  EXPECT_EQ(FeedGuard(Frame(kResetStream, 4)), FrameGuard::Verdict::kTooManyResets);
}

}  // namespace
}  // namespace mayfly
