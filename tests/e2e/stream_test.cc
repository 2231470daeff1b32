// Sessions and their subscriptions over the real server.

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "e2e/session_call.h"
#include "e2e/subscription_call.h"
#include "e2e/test_client.h"
#include "support/test_server.h"

namespace mayfly {
namespace {

class StreamTest : public testing::Test {
 protected:
  explicit StreamTest(const std::string& settings = "")
      : server_(absl::StrCat("[storage]\ndurability = \"relaxed\"\n", settings)) {
    server_.Start();
    client_ = std::make_unique<TestClient>(server_.Channel("client"));
    worker_ = std::make_unique<TestClient>(server_.Channel("worker"));
  }

  std::string NewInput() {
    const std::string id = NewCallId();
    EXPECT_EQ(client_->PutInput(id, "in"), "OK");
    return id;
  }
  std::string NewOutput(const std::string& data = "out") {
    const std::string id = NewInput();
    EXPECT_EQ(worker_->PutOutput(id, data), "OK");
    return id;
  }

  TestServer server_;
  std::unique_ptr<TestClient> client_;
  std::unique_ptr<TestClient> worker_;
};

TEST_F(StreamTest, OutputsComeAsTheyAreReadyAndAcksRideAlong) {
  std::vector<std::string> ids;
  SubscriptionCall call(client_.get());
  v1::SubscriptionRequest request = SubscriptionCall::Opening();
  for (int i = 0; i < 10; ++i) {
    ids.push_back(NewInput());
    request.add_subscribe_call_ids(ids.back());
  }
  request.add_subscribe_call_ids("no id");
  request.add_subscribe_call_ids(NewCallId());
  ASSERT_TRUE(call.Write(request));
  EXPECT_EQ(Summary(call.NextEnded().status()), "INVALID_ARGUMENT FIELD_INVALID");
  EXPECT_EQ(Summary(call.NextEnded().status()), "NOT_FOUND CALL_UNKNOWN");
  // Backwards: the order is that of readiness.
  for (int i = 9; i >= 0; --i) {
    ASSERT_EQ(worker_->PutOutput(ids[i], absl::StrCat("output ", i)), "OK");
    const v1::ClaimedOutput output = call.NextOutput();
    EXPECT_EQ(output.call_id(), ids[i]);
    EXPECT_EQ(output.payload().data(), absl::StrCat("output ", i));
    ASSERT_TRUE(call.Ack(output));
    EXPECT_EQ(call.NextAckResult(), "OK");
    EXPECT_EQ(client_->Describe(ids[i]).state(), v1::CALL_STATE_CONSUMED);
  }
  call.HalfClose();
  EXPECT_EQ(call.FinishAfterRest(), "OK");
}

TEST_F(StreamTest, ASessionAnswersEachRequest) {
  SessionCall call(client_.get());
  std::set<uint64_t> numbers;
  for (uint64_t number = 1; number <= 100; ++number) {
    v1::NumberedRequest request;
    request.set_number(number);
    for (int i = 0; i < 10; ++i) {
      v1::InputItem* const item = request.mutable_put_inputs()->add_items();
      item->set_call_id(i == 3 ? "no id" : NewCallId());
      item->mutable_payload()->set_data(absl::StrCat("input ", number));
    }
    ASSERT_TRUE(call.Write(request));
    numbers.insert(number);
  }
  call.HalfClose();
  for (int count = 0; count < 100; ++count) {
    const v1::NumberedResponse response = call.Next();
    EXPECT_EQ(numbers.erase(response.number()), 1u);
    ASSERT_EQ(response.put_inputs().results_size(), 10);
    for (int i = 0; i < 10; ++i) {
      EXPECT_EQ(Summary(response.put_inputs().results(i).status()),
                i == 3 ? "INVALID_ARGUMENT FIELD_INVALID" : "OK");
    }
  }
  EXPECT_EQ(call.FinishAfterRest(), "OK");
}

}  // namespace
}  // namespace mayfly
