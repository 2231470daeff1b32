#include "support/tcp_proxy.h"

#include <algorithm>
#include <errno.h>
#include <string>
#include <thread>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "support/loopback_socket.h"

namespace mayfly {
namespace {

// No two neighbouring bytes, nor two neighbouring buffers, are equal.
std::string Pattern(size_t size) {
  std::string data(size, '\0');
  for (size_t i = 0; i < size; ++i) data[i] = static_cast<char>(i * 31 + i / 251);
  return data;
}

void Send(const LoopbackSocket& socket, const std::string& data) {
  for (size_t sent = 0; sent < data.size();) {
    const ssize_t count = send(socket.descriptor(), data.data() + sent,
                               std::min<size_t>(data.size() - sent, 9999), MSG_NOSIGNAL);
    if (count < 0) return;  // the test was about to cut it
    sent += static_cast<size_t>(count);
  }
}

struct Received {
  std::string data;
  bool reset = false;  // and not the orderly end
};

// Up to `size` bytes, or the end.
Received Receive(const LoopbackSocket& socket, size_t size = SIZE_MAX) {
  Received received;
  std::string buffer(12345, '\0');
  while (received.data.size() < size) {
    const size_t wanted = std::min(buffer.size(), size - received.data.size());
    const ssize_t count = recv(socket.descriptor(), buffer.data(), wanted, 0);
    if (count < 0) received.reset = errno == ECONNRESET;
    if (count <= 0) break;
    received.data.append(buffer, 0, static_cast<size_t>(count));
  }
  return received;
}

class TcpProxyTest : public ::testing::Test {
 protected:
  struct Connection {
    LoopbackSocket client;
    LoopbackSocket server;
  };

  Connection Connect() {
    LoopbackSocket client = LoopbackSocket::Connect(proxy_.port());
    LoopbackSocket server = listener_.Accept();
    return {std::move(client), std::move(server)};
  }

  const LoopbackSocket listener_ = LoopbackSocket::Listen();
  TcpProxy proxy_{listener_.port()};
};

TEST_F(TcpProxyTest, PassesAndCountsWhatComesInBothDirections) {
  const std::string up = Pattern(3'000'017);
  const std::string down = Pattern(2'000'003);
  const Connection connection = Connect();
  std::thread sender([&] { Send(connection.client, up); });
  EXPECT_TRUE(Receive(connection.server, up.size()).data == up);
  sender.join();
  std::thread answerer([&] { Send(connection.server, down); });
  EXPECT_TRUE(Receive(connection.client, down.size()).data == down);
  answerer.join();
  EXPECT_EQ(proxy_.PassedBytes(TcpProxy::kToServer), up.size());
  EXPECT_EQ(proxy_.PassedBytes(TcpProxy::kToClient), down.size());
  EXPECT_EQ(proxy_.ConnectionCount(), 1);
}

TEST_F(TcpProxyTest, AnEndOfOneDirectionLeavesTheOtherOpen) {
  const Connection connection = Connect();
  Send(connection.client, "question");
  connection.client.EndSending();
  const Received received = Receive(connection.server);
  EXPECT_EQ(received.data, "question");
  EXPECT_FALSE(received.reset);
  Send(connection.server, "answer");
  connection.server.EndSending();
  EXPECT_EQ(Receive(connection.client).data, "answer");
}

TEST_F(TcpProxyTest, AResetPassesAsAReset) {
  Connection connection = Connect();
  connection.server.Reset();
  EXPECT_TRUE(Receive(connection.client).reset);
}

TEST_F(TcpProxyTest, AServerThatIsNotThereIsAReset) {
  const int port = LoopbackSocket::Listen().port();  // closed again
  TcpProxy proxy(port);
  EXPECT_TRUE(Receive(LoopbackSocket::Connect(proxy.port())).reset);
}

using Where = std::tuple<TcpProxy::Direction, size_t>;

class TcpProxyCut : public TcpProxyTest, public ::testing::WithParamInterface<Where> {
 protected:
  TcpProxy::Direction direction() const { return std::get<0>(GetParam()); }
  size_t offset() const { return std::get<1>(GetParam()); }

  // The sockets of the direction's sender and receiver.
  LoopbackSocket& From(Connection* connection) const {
    return direction() == TcpProxy::kToServer ? connection->client : connection->server;
  }
  LoopbackSocket& To(Connection* connection) const {
    return direction() == TcpProxy::kToServer ? connection->server : connection->client;
  }
};

TEST_P(TcpProxyCut, AnOrderlyEndComesBehindTheByte) {
  Connection other = Connect();
  Connection connection = Connect();
  proxy_.CutAfter(direction(), offset(), TcpProxy::Ending::kFin);
  const std::string data = Pattern(200'000);
  std::thread sender([&] { Send(From(&connection), data); });
  const Received received = Receive(To(&connection));
  EXPECT_TRUE(received.data == data.substr(0, offset())) << received.data.size();
  EXPECT_FALSE(received.reset);
  EXPECT_TRUE(proxy_.WaitForCut());
  EXPECT_EQ(Receive(From(&connection)).data, "");
  sender.join();
  EXPECT_EQ(proxy_.PassedBytes(direction()), offset());
  // The other connection, and one made later, go on.
  Connection next = Connect();
  for (Connection* alive : {&other, &next}) {
    Send(From(alive), "alive");
    EXPECT_EQ(Receive(To(alive), 5).data, "alive");
  }
}

TEST_P(TcpProxyCut, AResetComesBehindTheByte) {
  Connection connection = Connect();
  proxy_.CutAfter(direction(), offset(), TcpProxy::Ending::kReset);
  const std::string data = Pattern(200'000);
  std::thread sender([&] { Send(From(&connection), data); });
  const Received received = Receive(To(&connection));
  EXPECT_TRUE(received.reset);
  EXPECT_TRUE(received.data == data.substr(0, received.data.size()));
  EXPECT_LE(received.data.size(), offset());
  EXPECT_TRUE(proxy_.WaitForCut());
  sender.join();
  EXPECT_EQ(proxy_.PassedBytes(direction()), offset());
}

INSTANTIATE_TEST_SUITE_P(Everywhere, TcpProxyCut,
                         ::testing::Combine(::testing::Values(TcpProxy::kToServer,
                                                              TcpProxy::kToClient),
                                            ::testing::Values(0, 1, 9999, 65536, 65537, 131'073)));

TEST_F(TcpProxyTest, APlanCountsFromWhenItIsMadeAndCanBeCancelled) {
  const Connection connection = Connect();
  Send(connection.client, "before");
  EXPECT_EQ(Receive(connection.server, 6).data, "before");
  proxy_.CutAfter(TcpProxy::kToServer, 3, TcpProxy::Ending::kFin);
  EXPECT_TRUE(proxy_.CancelCut());
  Send(connection.client, "between");
  EXPECT_EQ(Receive(connection.server, 7).data, "between");
  proxy_.CutAfter(TcpProxy::kToServer, 3, TcpProxy::Ending::kFin);
  Send(connection.client, "after");
  EXPECT_EQ(Receive(connection.server).data, "aft");
  EXPECT_TRUE(proxy_.WaitForCut());
  EXPECT_FALSE(proxy_.CancelCut());
}

TEST_F(TcpProxyTest, CutAllEndsEveryConnection) {
  const Connection first = Connect();
  const Connection second = Connect();
  // Until a byte has come through, the proxy may not have accepted it.
  for (const Connection* connection : {&first, &second}) {
    Send(connection->client, "x");
    EXPECT_EQ(Receive(connection->server, 1).data, "x");
  }
  proxy_.CutAll(TcpProxy::Ending::kReset);
  EXPECT_TRUE(Receive(first.client).reset);
  EXPECT_TRUE(Receive(second.server).reset);
}

TEST_F(TcpProxyTest, AStalledDirectionGoesOnWhenTold) {
  const Connection connection = Connect();
  proxy_.Stall(TcpProxy::kToServer);
  const std::string data = Pattern(1'000'003);
  std::thread sender([&] { Send(connection.client, data); });
  Send(connection.server, "still open");
  EXPECT_EQ(Receive(connection.client, 10).data, "still open");
  EXPECT_EQ(proxy_.PassedBytes(TcpProxy::kToServer), 0);
  proxy_.GoOn();
  EXPECT_TRUE(Receive(connection.server, data.size()).data == data);
  sender.join();
}

}  // namespace
}  // namespace mayfly
