// What the tests of the client start from: a fake server, and a client that speaks to it.
#pragma once

#include <memory>
#include <string>

#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include "client/core.h"
#include "client/fake_function_io.h"
#include "mayfly/client.h"

namespace mayfly::client {

class ClientFixture : public testing::Test {
 protected:
  // Short pauses; the timeout is long enough never to matter unless a test says so.
  static ClientOptions QuickOptions() {
    return {.target = "",
            .timeout = absl::Seconds(20),
            .retry = {.delay_min = absl::Milliseconds(1), .delay_max = absl::Milliseconds(10)}};
  }

  Client NewClient(ClientOptions options = QuickOptions()) {
    options.target = server_.target();
    return Client(std::make_shared<Core>(grpc::InsecureChannelCredentials(), options));
  }

  // A call with an input, and the output `data` of its first attempt.
  std::string NewReadyCall(const std::string& data) {
    const absl::StatusOr<Stored> put = client_.PutInput({.payload = {.data = "input"}});
    EXPECT_TRUE(put.ok()) << put.status();
    server_.AddOutput(put->call_id, 1, data);
    return put->call_id;
  }

  FakeFunctionIo server_;
  Client client_ = NewClient();
};

}  // namespace mayfly::client
