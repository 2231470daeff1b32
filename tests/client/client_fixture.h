// What the tests of the client start from: a fake server, and a client that speaks to it.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <string>

#include "absl/time/clock.h"
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include "client/core.h"
#include "client/fake_function_io.h"
#include "mayfly/client.h"
#include "support/sizes.h"

namespace mayfly::client {

inline std::shared_ptr<Core> NewInsecureCore(const ClientOptions& options,
                                             const SessionTimes& session_times = {}) {
  return std::make_shared<Core>(
      std::make_shared<Connections>(grpc::InsecureChannelCredentials(), options), options,
      session_times);
}

class ClientFixture : public testing::Test {
 protected:
  // Short pauses; the timeout is long enough never to matter unless a test says so.
  static ClientOptions QuickOptions() {
    return {.target = "",
            .timeout = absl::Seconds(60),
            .retry = {.delay_min = absl::Milliseconds(1), .delay_max = absl::Milliseconds(10)}};
  }

  std::shared_ptr<Core> NewCore(ClientOptions options = QuickOptions(),
                                const SessionTimes& session_times = {}) {
    options.target = server_.target();
    return NewInsecureCore(options, session_times);
  }
  Client NewClient(const ClientOptions& options = QuickOptions()) {
    return Client(NewCore(options));
  }

  // What `ask` asks for on the thread of callbacks is asked for at the same time.
  static void FromOneCallback(const Client& client, const std::function<void()>& ask) {
    std::promise<void> asked;
    client.DescribeCallsAsync({"x"}, [&](const Client::Results<CallDescription>&) {
      ask();
      asked.set_value();
    });
    asked.get_future().wait();
  }

  // A call with an input, and the output `data` of its first attempt.
  std::string NewReadyCall(const std::string& data) {
    const absl::StatusOr<Stored> put = client_.PutInput({.payload = {.data = "input"}});
    EXPECT_TRUE(put.ok()) << put.status();
    server_.AddOutput(put->call_id, 1, data);
    return put->call_id;
  }

  // A release may still be on its way when the call that it follows from has ended.
  bool WaitForState(const std::string& id, CallState state) {
    const absl::Time until = absl::Now() + absl::Seconds(60);
    while (client_.DescribeCall(id)->state != state) {
      if (absl::Now() > until) return false;
    }
    return true;
  }

  FakeFunctionIo server_;
  Client client_ = NewClient();
};

}  // namespace mayfly::client
