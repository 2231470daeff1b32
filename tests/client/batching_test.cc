// Single calls of many callers travel together, and each ends in its own way.
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/client_fixture.h"

namespace mayfly::client {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Le;
using When = Fault::When;

class BatchingTest : public ClientFixture {
 protected:
  std::multiset<int> PutSizes() {
    std::multiset<int> sizes;
    for (const auto& request : server_.RequestsOf<v1::PutInputsRequest>()) {
      sizes.insert(request.items_size());
    }
    return sizes;
  }
  // All are answered, and stored under the ids they were answered with.
  void ExpectStored(std::vector<Client::Future<Stored>>* puts, size_t bytes) {
    std::set<std::string> ids;
    for (auto& put : *puts) {
      const absl::StatusOr<Stored> stored = put.get();
      ASSERT_TRUE(stored.ok()) << stored.status();
      EXPECT_TRUE(ids.insert(stored->call_id).second);
      EXPECT_EQ(server_.InputOf(stored->call_id)->size(), bytes);
    }
  }
};

TEST_F(BatchingTest, WhatCallbacksAskForLeavesTogether) {
  std::vector<Client::Future<Stored>> puts;
  FromOneCallback(client_, [&] {
    for (int i = 0; i < 100; ++i) puts.push_back(client_.PutInputFuture({}));
  });
  ExpectStored(&puts, 0);
  EXPECT_THAT(PutSizes(), ElementsAre(100));
}

TEST_F(BatchingTest, EveryKindOfSingleCallTravelsTogether) {
  constexpr int kCalls = 20;
  std::vector<std::string> ids;
  for (int i = 0; i < kCalls; ++i) ids.push_back(MintCallId());
  std::vector<Client::Future<Stored>> inputs, outputs;
  std::vector<Client::Future<StoredInput>> got;
  std::vector<Client::Future<absl::Time>> acked;
  FromOneCallback(client_, [&] {
    for (const std::string& id : ids) {
      inputs.push_back(client_.PutInputFuture({.call_id = id, .payload = {.data = "in " + id}}));
    }
  });
  for (auto& input : inputs) ASSERT_TRUE(input.get().ok());
  FromOneCallback(client_, [&] {
    for (const std::string& id : ids) got.push_back(client_.GetInputFuture(id));
  });
  for (int i = 0; i < kCalls; ++i) EXPECT_EQ(got[i].get()->payload.data, "in " + ids[i]);
  FromOneCallback(client_, [&] {
    for (const std::string& id : ids) {
      outputs.push_back(client_.PutOutputFuture({.call_id = id, .payload = {.data = "out " + id}}));
    }
  });
  for (auto& output : outputs) ASSERT_TRUE(output.get().ok());
  const absl::StatusOr<ClaimedOutputs> claimed = client_.ClaimOutputs(ids);
  FromOneCallback(client_, [&] {
    for (const ClaimedOutput& output : claimed->outputs) {
      acked.push_back(client_.AckOutputFuture(output.claim));
    }
  });
  for (auto& ack : acked) EXPECT_TRUE(ack.get().ok());
  EXPECT_EQ(acked.size(), kCalls);
  for (const char* const rpc : {"PutInputs", "GetInputs", "PutOutputs", "AckOutputs"}) {
    EXPECT_EQ(server_.CountOf(rpc), 1) << rpc;
  }
}

TEST_F(BatchingTest, AMessageHasNoMoreItemsThanTheServerTakes) {
  std::vector<Client::Future<Stored>> puts;
  FromOneCallback(client_, [&] {
    for (int i = 0; i < 1300; ++i) puts.push_back(client_.PutInputFuture({}));
  });
  ExpectStored(&puts, 0);
  EXPECT_THAT(PutSizes(), ElementsAre(276, 512, 512));
}

TEST_F(BatchingTest, AMessageHasNoMoreBytesThanTheOptionsSay) {
  ClientOptions options = QuickOptions();
  options.batch_bytes_max = 100'000;
  const Client client = NewClient(options);
  std::vector<Client::Future<Stored>> puts;
  const Input input{.payload = {.data = std::string(30'000, 'x')}};
  FromOneCallback(client, [&] {
    for (int i = 0; i < 10; ++i) puts.push_back(client.PutInputFuture(input));
  });
  ExpectStored(&puts, 30'000);
  EXPECT_THAT(PutSizes(), ElementsAre(1, 3, 3, 3));
}

TEST_F(BatchingTest, ManyThreadsShareMessages) {
  constexpr int kThreads = 32;
  constexpr int kRounds = 40;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < kRounds; ++round) {
        const std::string data = absl::StrCat(i, " ", round);
        const absl::StatusOr<Stored> put = client_.PutInput({.payload = {.data = data}});
        ASSERT_TRUE(put.ok()) << put.status();
        const absl::StatusOr<StoredInput> input = client_.GetInput(put->call_id);
        ASSERT_TRUE(input.ok()) << input.status();
        EXPECT_EQ(input->payload.data, data);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // How many share one depends on how busy the machine is.
  EXPECT_LT(server_.CountOf("PutInputs"), kThreads * kRounds);
  EXPECT_LT(server_.CountOf("GetInputs"), kThreads * kRounds);
}

TEST_F(BatchingTest, ALoneCallLingersWhenItIsToldTo) {
  ClientOptions options = QuickOptions();
  options.linger = absl::Milliseconds(1);
  const Client client = NewClient(options);
  ASSERT_TRUE(client.PutInput({}).ok());  // connects
  const absl::Time start = absl::Now();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(client.PutInput({}).ok());
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(20));
  EXPECT_EQ(server_.CountOf("PutInputs"), 21);
}

TEST_F(BatchingTest, EachItemHasAResultOfItsOwn) {
  const std::string id = client_.PutInput({.payload = {.data = "a"}})->call_id;
  std::vector<Client::Future<StoredInput>> got;
  FromOneCallback(client_, [&] {
    for (const std::string& call_id : {std::string("nobody"), id, std::string("no one")}) {
      got.push_back(client_.GetInputFuture(call_id));
    }
  });
  EXPECT_EQ(ReasonOf(got[0].get().status()), Reason::kCallUnknown);
  EXPECT_EQ(got[1].get()->payload.data, "a");
  EXPECT_EQ(ReasonOf(got[2].get().status()), Reason::kCallUnknown);
  EXPECT_EQ(server_.CountOf("GetInputs"), 1);
}

TEST_F(BatchingTest, AnUnavailableItemIsAskedAgainWithoutItsNeighbours) {
  server_.FailNext("PutInputs", {.when = When::kItem,
                                 .item = 1,
                                 .item_status = ItemError(absl::StatusCode::kUnavailable,
                                                          Reason::kDraining, "draining")});
  std::vector<Client::Future<Stored>> puts;
  FromOneCallback(client_, [&] {
    for (int i = 0; i < 3; ++i) puts.push_back(client_.PutInputFuture({}));
  });
  ExpectStored(&puts, 0);
  const auto requests = server_.RequestsOf<v1::PutInputsRequest>();
  ASSERT_EQ(requests.size(), 2);
  ASSERT_EQ(requests[1].items_size(), 1);
  EXPECT_EQ(requests[1].items(0).call_id(), requests[0].items(1).call_id());
}

TEST_F(BatchingTest, InputsThatDidNotFitAreAskedForAgain) {
  std::vector<std::string> ids;
  std::vector<Input> inputs(8);
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i].payload.data.assign(1'000'000, 'a' + i);
  for (const auto& put : client_.PutInputs(inputs)) ids.push_back(put->call_id);
  std::vector<Client::Future<StoredInput>> got;
  FromOneCallback(client_, [&] {
    for (const std::string& id : ids) got.push_back(client_.GetInputFuture(id));
  });
  for (size_t i = 0; i < ids.size(); ++i) {
    const absl::StatusOr<StoredInput> input = got[i].get();
    ASSERT_TRUE(input.ok()) << input.status();
    EXPECT_TRUE(input->payload.data == inputs[i].payload.data) << i;
  }
  EXPECT_EQ(server_.CountOf("GetInputs"), 3);
  EXPECT_EQ(server_.CountOf("Download"), 0);
}

TEST_F(BatchingTest, AMessageWithoutAnswerHoldsUpNobodyElse) {
  server_.FailNext("PutInputs", {.when = When::kSilence});
  auto lost = client_.PutInputFuture({}, {.timeout = absl::Seconds(10)});
  ASSERT_TRUE(server_.WaitFor("PutInputs", 1));
  EXPECT_TRUE(client_.PutInput({}).ok());
  EXPECT_EQ(lost.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  // Its second attempt, when half of its time is over, is answered.
  EXPECT_TRUE(lost.get().ok());
}

TEST_F(BatchingTest, EachItemEndsAtItsOwnTimeout) {
  server_.FailAlways("PutInputs", {.when = When::kSilence});
  std::vector<Client::Future<Stored>> puts;
  FromOneCallback(client_, [&] {
    for (const int ms : {60'000, 400, 800}) {
      puts.push_back(client_.PutInputFuture({}, {.timeout = absl::Milliseconds(ms)}));
    }
  });
  EXPECT_EQ(puts[1].get().status(), absl::DeadlineExceededError("no answer within 400ms"));
  EXPECT_EQ(puts[2].get().status(), absl::DeadlineExceededError("no answer within 800ms"));
  ASSERT_TRUE(server_.WaitFor("PutInputs", 1));
  EXPECT_EQ(puts[0].wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  EXPECT_THAT(PutSizes(), ElementsAre(3));
}

TEST_F(BatchingTest, CallsUnderWayOutliveTheClient) {
  std::vector<Client::Future<Stored>> puts;
  {
    ClientOptions options = QuickOptions();
    options.linger = absl::Milliseconds(1);
    const Client client = NewClient(options);
    for (int i = 0; i < 10; ++i) puts.push_back(client.PutInputFuture({}));
  }
  ExpectStored(&puts, 0);
}

TEST_F(BatchingTest, TheLastCopyOfAClientMayGoInACallback) {
  std::promise<absl::Status> done;
  auto client = std::make_unique<Client>(NewClient());
  const Client* const asked = client.get();
  asked->PutInputAsync(
      {}, [&, client = std::move(client)](const absl::StatusOr<Stored>& stored) mutable {
        client = nullptr;
        done.set_value(stored.status());
      });
  EXPECT_TRUE(done.get_future().get().ok());
}

}  // namespace
}  // namespace mayfly::client
