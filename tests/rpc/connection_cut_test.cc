#include "rpc/connection_cut.h"

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "support/loopback_socket.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST(StallWatchTest, OneLookTellsNothing) {
  StallWatch watch;
  EXPECT_THAT(watch.StalledOf({{"a", 0}, {"b", 7}}), IsEmpty());
}

TEST(StallWatchTest, WhatIsFullTwiceWithoutAnAcknowledgementHasStalled) {
  StallWatch watch;
  watch.StalledOf({{"still", 7}, {"moving", 7}});
  EXPECT_THAT(watch.StalledOf({{"still", 7}, {"moving", 8}, {"new", 7}}), ElementsAre("still"));
  EXPECT_THAT(watch.StalledOf({{"moving", 8}, {"new", 7}}), UnorderedElementsAre("moving", "new"));
}

TEST(StallWatchTest, WhatHadRoomMeanwhileBeginsAnew) {
  StallWatch watch;
  watch.StalledOf({{"a", 7}});
  EXPECT_THAT(watch.StalledOf({}), IsEmpty());
  EXPECT_THAT(watch.StalledOf({{"a", 7}}), IsEmpty());
}

// A connection to a reader of this process.
class ConnectionCutTest : public ::testing::Test {
 protected:
  ConnectionCutTest() {
    reader_ = LoopbackSocket::Connect(listening_.port());
    writer_ = listening_.Accept();
    writer_.MakeNonBlocking();
    reader_.MakeNonBlocking();
    peer_ = absl::StrCat("ipv4:127.0.0.1:", reader_.port());
  }

  void Fill() {
    const std::string bytes(1 << 16, 'b');
    while (send(writer_.descriptor(), bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0) {
    }
  }
  // Fills it until the kernel has moved what it can.
  void FillForGood() {
    for (int quiet = 0; quiet < 20; ++quiet) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      if (!FindFullConnections({peer_}).contains(peer_)) quiet = 0;
      Fill();
    }
  }
  size_t Read() {
    std::string bytes(1 << 20, ' ');
    const ssize_t count = recv(reader_.descriptor(), bytes.data(), bytes.size(), 0);
    return count > 0 ? static_cast<size_t>(count) : 0;
  }

  LoopbackSocket listening_ = LoopbackSocket::Listen();
  LoopbackSocket reader_;
  LoopbackSocket writer_;
  std::string peer_;
};

TEST_F(ConnectionCutTest, FindsAFullConnectionAndSeesItMove) {
  EXPECT_THAT(FindFullConnections({peer_}), IsEmpty());
  FillForGood();
  EXPECT_THAT(FindFullConnections({"ipv4:127.0.0.1:1"}), IsEmpty());
  const FullConnections before = FindFullConnections({peer_});
  ASSERT_TRUE(before.contains(peer_));
  EXPECT_EQ(FindFullConnections({peer_}), before);
  // It is as full again, and has moved all the same.
  uint64_t acked = before.at(peer_);
  for (int i = 0; i < 1000 && acked == before.at(peer_); ++i) {
    Read();
    FillForGood();
    acked = FindFullConnections({peer_}).at(peer_);
  }
  EXPECT_GT(acked, before.at(peer_));
}

TEST_F(ConnectionCutTest, CutsTheNamedConnectionOnly) {
  CutConnections({"ipv4:127.0.0.1:1"});
  EXPECT_EQ(send(writer_.descriptor(), "a", 1, MSG_NOSIGNAL), 1);
  CutConnections({peer_});
  EXPECT_EQ(send(writer_.descriptor(), "a", 1, MSG_NOSIGNAL), -1);
}

}  // namespace
}  // namespace mayfly
