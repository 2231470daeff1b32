#include "rpc/message_guard.h"

#include <atomic>
#include <string>

#include <gtest/gtest.h>

namespace mayfly {
namespace {

constexpr uint64_t kMessageMax = (2 << 20) + 0x1234;

std::string Prefix(uint64_t length, char flag = 0) {
  return {flag, static_cast<char>(length >> 24), static_cast<char>(length >> 16),
          static_cast<char>(length >> 8), static_cast<char>(length)};
}

class MessageGuardTest : public testing::Test {
 protected:
  // The payload of a DATA frame, as it is passed on when it comes in parts of `part_bytes`.
  std::string Pass(uint32_t stream, std::string data, bool ends_stream = false,
                   size_t part_bytes = SIZE_MAX) {
    MutableByteSpan bytes(reinterpret_cast<uint8_t*>(data.data()), data.size());
    guard_.BeginData(stream);
    while (!bytes.empty()) {
      const size_t size = std::min(part_bytes, bytes.size());
      guard_.Feed(bytes.subspan(0, size));
      bytes.remove_prefix(size);
    }
    guard_.EndData(ends_stream);
    return data;
  }

  std::atomic<uint64_t> large_bytes_{0};
  MessageGuard guard_{kMessageMax, &large_bytes_};
};

TEST_F(MessageGuardTest, PassesOnTheLesserOfTheLengthAndTheLeastThatIsRefused) {
  const uint64_t refused = kMessageMax + 1;
  uint32_t stream = 1;
  for (const uint64_t length :
       {uint64_t{1}, kMessageMax - 1, kMessageMax, refused, refused + 1, refused + 256,
        refused + 65536, uint64_t{60} << 20, uint64_t{0xffffffff}, uint64_t{0x00ffffff}}) {
    for (const size_t part_bytes : {1, 2, 3, 4, 5, 100}) {
      EXPECT_EQ(Pass(stream, Prefix(length), /*ends_stream=*/false, part_bytes),
                Prefix(std::min(length, refused)))
          << length << " in parts of " << part_bytes;
      stream += 2;
    }
  }
}

// What the client sends is skipped by the length that it announced, so that no byte of a message is
// taken for a length.
TEST_F(MessageGuardTest, ChangesNoByteOfAMessage) {
  const std::string looks_like_prefix = Prefix(uint64_t{60} << 20);
  const std::string small = Prefix(3 * looks_like_prefix.size()) + looks_like_prefix +
                            looks_like_prefix + looks_like_prefix;
  const std::string empty = Prefix(0);
  for (const size_t frame_bytes : {1, 2, 3, 7, 20, 100}) {
    const std::string all = small + empty + empty + small + small;
    for (size_t i = 0; i < all.size(); i += frame_bytes) {
      const std::string frame = all.substr(i, frame_bytes);
      ASSERT_EQ(Pass(1, frame), frame) << "at " << i << " in frames of " << frame_bytes;
    }
    EXPECT_EQ(guard_.stream_count(), 0u) << "between two messages";
  }
  EXPECT_NE(Pass(1, looks_like_prefix), looks_like_prefix);
}

TEST_F(MessageGuardTest, FollowsStreamsThatTakeTurns) {
  const std::string zeros(100, '\0');
  EXPECT_EQ(Pass(1, Prefix(200)), Prefix(200));
  EXPECT_EQ(Pass(3, Prefix(uint64_t{1} << 30).substr(0, 3)), Prefix(kMessageMax + 1).substr(0, 3));
  EXPECT_EQ(Pass(1, zeros), zeros);
  EXPECT_EQ(Pass(3, Prefix(uint64_t{1} << 30).substr(3)), Prefix(kMessageMax + 1).substr(3));
  EXPECT_EQ(guard_.stream_count(), 2u);
  EXPECT_EQ(Pass(1, zeros), zeros);
  EXPECT_EQ(guard_.stream_count(), 1u);
  guard_.Forget(3);
  EXPECT_EQ(guard_.stream_count(), 0u);
  Pass(5, Prefix(100), /*ends_stream=*/true);
  EXPECT_EQ(guard_.stream_count(), 0u);
}

TEST_F(MessageGuardTest, HoldsNoMoreThanSoManyStreamsAndNeverTakesDataForALength) {
  for (uint32_t stream = 1; stream < 2 * (MessageGuard::kStreamsMax + 10); stream += 2) {
    Pass(stream, Prefix(1000));
  }
  EXPECT_EQ(guard_.stream_count(), MessageGuard::kStreamsMax);
  const std::string looks_like_prefix = Prefix(uint64_t{60} << 20);
  EXPECT_EQ(Pass(1, looks_like_prefix), looks_like_prefix) << "it may be the middle of a message";
  EXPECT_NE(Pass(1'000'001, looks_like_prefix), looks_like_prefix);
}

TEST_F(MessageGuardTest, CountsWhatLeavesHolesInTheHeap) {
  MessageGuard large(uint64_t{64} << 20, &large_bytes_);
  for (const uint64_t length : {MessageGuard::kLargeBytes, MessageGuard::kLargeBytes + 1}) {
    std::string prefix = Prefix(length);
    large.BeginData(1);
    large.Feed({reinterpret_cast<uint8_t*>(prefix.data()), prefix.size()});
    large.EndData(/*ends_stream=*/true);
  }
  EXPECT_EQ(large_bytes_, MessageGuard::kLargeBytes + 1);
}

}  // namespace
}  // namespace mayfly
