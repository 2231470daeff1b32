// Clients whose connections break, by a name.
#include <random>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "client/client_fixture.h"
#include "support/random_seed.h"
#include "support/tcp_proxy.h"

namespace mayfly::client {
namespace {

class ReconnectTest : public ClientFixture {
 protected:
  int ServerPort() const {
    const std::vector<std::string> parts = absl::StrSplit(server_.target(), ':');
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(parts.back(), &port));
    return port;
  }
};

// Of a name with two addresses, as localhost has, the first refuses, and the name is resolved again
// whenever a connection breaks. However these meet, a connection is made.
TEST_F(ReconnectTest, BreakingAtAnyByteOnlyDelaysACall) {
  constexpr int kClients = 8;
  constexpr int kCuts = 250;
  const uint64_t seed = RandomSeed();
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([this, seed, i] {
      std::mt19937_64 random(seed + i);
      TcpProxy proxy(ServerPort());
      ClientOptions options = QuickOptions();
      options.target = absl::StrCat("localhost:", proxy.port());
      options.retry.attempts_max = 10'000;
      const Client client(NewInsecureCore(options));
      for (int cut = 0; cut < kCuts; ++cut) {
        proxy.CutAfter(random() % 2 == 0 ? TcpProxy::kToServer : TcpProxy::kToClient,
                       random() % 1'000,
                       random() % 2 == 0 ? TcpProxy::Ending::kFin : TcpProxy::Ending::kReset);
        while (proxy.IsCutPlanned()) {
          const absl::Status status = client.DescribeCall("x").status();
          ASSERT_TRUE(status.ok())
              << "MAYFLY_TEST_SEED=" << seed << ", cut " << cut << ": " << status;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace mayfly::client
