#include "rpc/connection_listener.h"

#include <atomic>
#include <unistd.h>
#include <vector>

#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "base/mutex.h"
#include "rpc/recording_log.h"
#include "support/loopback_socket.h"

namespace mayfly {
namespace {

constexpr absl::Duration kListenerPatience = absl::Seconds(60);
constexpr ConnectionLimits kListenerLimits = {.proven_max = 100,
                                              .unproven_max = 4,
                                              .per_address_max = 100,
                                              .per_tenant_max = 100,
                                              .descriptor_end = 1000};

template <typename Condition>
bool Eventually(Condition condition) {
  const absl::Time end = absl::Now() + kListenerPatience;
  while (!condition()) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

// A client that has sent its first byte: silent connections are not accepted.
LoopbackSocket Connect(int port) {
  LoopbackSocket socket = LoopbackSocket::Connect(port);
  EXPECT_EQ(send(socket.descriptor(), "x", 1, MSG_NOSIGNAL), 1);
  return socket;
}

bool IsEnded(const LoopbackSocket& socket) {
  char byte = 0;
  return recv(socket.descriptor(), &byte, 1, 0) <= 0;
}

class ConnectionListenerTest : public ::testing::Test {
 protected:
  ConnectionListenerTest() {
    auto listener = ConnectionListener::Open("127.0.0.1:0");
    EXPECT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
  }
  ~ConnectionListenerTest() override { listener_->Stop(); }

  void Start(int descriptor_end = kListenerLimits.descriptor_end) {
    listener_->Start(
        &table_, descriptor_end,
        [this](int, int connection, const ConnectionPeer&) {
          MutexLock lock(&mutex_);
          accepted_.emplace_back(connection);
        },
        &log_);
  }
  size_t accepted_count() {
    MutexLock lock(&mutex_);
    return accepted_.size();
  }

  std::unique_ptr<ConnectionListener> listener_;
  ConnectionTable table_{kListenerLimits};
  RecordingLog log_;
  Mutex mutex_;
  std::vector<LoopbackSocket> accepted_ GUARDED_BY(mutex_);
};

TEST_F(ConnectionListenerTest, HandsOverWhatItAcceptsAndNoticesTheEnd) {
  Start();
  LoopbackSocket client = Connect(listener_->port());
  ASSERT_TRUE(Eventually([&] { return accepted_count() == 1; }));
  EXPECT_EQ(table_.unproven_count(), 1u);
  // As gRPC does it: shut down, then closed.
  shutdown(accepted_[0].descriptor(), SHUT_RDWR);
  EXPECT_TRUE(Eventually([&] { return table_.unproven_count() == 0; }));
}

TEST_F(ConnectionListenerTest, NamesThePeerAsItsAddressAndPort) {
  Start();
  LoopbackSocket client = Connect(listener_->port());
  ASSERT_TRUE(Eventually([&] { return accepted_count() == 1; }));
  const ConnectionPeer peer = PeerOf(accepted_[0].descriptor());
  EXPECT_EQ(peer.address, "127.0.0.1");
  EXPECT_EQ(peer.name, absl::StrCat("ipv4:127.0.0.1:", client.port()));
}

TEST_F(ConnectionListenerTest, AnOldConnectionMakesRoomForANewOne) {
  Start();
  std::vector<LoopbackSocket> clients;
  for (int i = 0; i < 5; ++i) clients.push_back(Connect(listener_->port()));
  ASSERT_TRUE(Eventually([&] { return accepted_count() == 5; }));
  EXPECT_TRUE(IsEnded(clients[0]));
  EXPECT_EQ(table_.unproven_count(), 4u);
  EXPECT_TRUE(Eventually([&] { return !log_.lines().empty(); }));
}

TEST_F(ConnectionListenerTest, AcceptsNothingWhenDescriptorsAreShortAndGoesOnWhenTheyAreNot) {
  // Files take every number that connections may have.
  std::vector<LoopbackSocket> files;
  while (files.empty() || files.back().descriptor() < 60) files.emplace_back(dup(0));
  Start(/*descriptor_end=*/60);
  LoopbackSocket client = Connect(listener_->port());
  absl::SleepFor(absl::Milliseconds(50));  // nothing comes that could be waited for
  EXPECT_EQ(accepted_count(), 0u);
  files.clear();
  EXPECT_TRUE(Eventually([&] { return accepted_count() == 1; }));
}

TEST_F(ConnectionListenerTest, AnAddressInUseIsRefused) {
  const std::string address = absl::StrCat("127.0.0.1:", listener_->port());
  const auto second = ConnectionListener::Open(address);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), ::testing::HasSubstr(address));
}

TEST_F(ConnectionListenerTest, AWildcardListensOnIpv4Too) {
  for (const char* address : {"[::]:0", "0.0.0.0:0"}) {
    const auto listener = ConnectionListener::Open(address);
    ASSERT_TRUE(listener.ok()) << listener.status();
    EXPECT_TRUE(LoopbackSocket::Connect((*listener)->port()).is_open()) << address;
  }
}

TEST_F(ConnectionListenerTest, ANameListensOnItsAddresses) {
  const auto listener = ConnectionListener::Open("localhost:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_TRUE(LoopbackSocket::Connect((*listener)->port()).is_open());
}

}  // namespace
}  // namespace mayfly
