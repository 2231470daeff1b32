#include "mayfly/client.h"

#include <future>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/call_id.h"
#include "base/crc32c.h"
#include "client/client_fixture.h"

namespace mayfly::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using When = Fault::When;
using ClientTest = ClientFixture;

TEST_F(ClientTest, MintsTheCallIdsOfItsPuts) {
  const absl::Time before = absl::Now();
  const absl::StatusOr<Stored> put = client_.PutInput({.payload = {.data = "6 * 7"}});
  ASSERT_TRUE(put.ok()) << put.status();
  const absl::StatusOr<CallId> id = CallId::Parse(put->call_id);
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_GE(id->time(), before - absl::Milliseconds(1));
  EXPECT_LE(id->time(), absl::Now());
  EXPECT_NE(put->call_id, client_.PutInput({.payload = {.data = "6 * 7"}})->call_id);
}

TEST_F(ClientTest, SendsWhatItIsGiven) {
  ASSERT_TRUE(client_
                  .PutOutput({.call_id = NewReadyCall("first"),
                              .attempt = 3,
                              .outcome = Outcome::kTimeout,
                              .payload = {.data = "123456789",
                                          .content_type = "text/plain",
                                          .labels = {{"zone", "b"}},
                                          .encryption_key_id = "k1"},
                              .ttl = absl::Milliseconds(90'500)})
                  .ok());
  const v1::OutputItem item = server_.RequestsOf<v1::PutOutputsRequest>()[0].items(0);
  EXPECT_EQ(item.attempt(), 3);
  EXPECT_EQ(item.outcome(), v1::OUTCOME_TIMEOUT);
  EXPECT_EQ(item.payload().content_type(), "text/plain");
  EXPECT_EQ(item.payload().labels().at("zone"), "b");
  EXPECT_EQ(item.payload().encryption_key_id(), "k1");
  EXPECT_EQ(item.ttl().seconds(), 90);
  EXPECT_EQ(item.ttl().nanos(), 500'000'000);
  // The check value of CRC-32C, from the catalogue of parametrised CRC algorithms.
  EXPECT_EQ(item.payload().crc32c(), 0xe3069283u);
}

TEST_F(ClientTest, TellsOfTheServer) {
  const absl::StatusOr<ServerInfo> info = client_.GetServerInfo();
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->version, "1.2.3");
  EXPECT_EQ(info->tenant, "acme");
  EXPECT_EQ(info->role, "client");
  EXPECT_EQ(info->limits.id_window, absl::Minutes(5));
  EXPECT_EQ(info->limits.claims_max, 10'000u);
  EXPECT_EQ(client_.GetServerInfoFuture().get()->version, "1.2.3");
  Cancellation cancelled;
  cancelled.Cancel();
  EXPECT_TRUE(absl::IsCancelled(client_.GetServerInfo({.cancellation = cancelled}).status()));
}

TEST_F(ClientTest, ALifeCycleEndsWithTheOutputGone) {
  const std::string id =
      client_.PutInput({.payload = {.data = "6 * 7", .labels = {{"a", "b"}}}})->call_id;
  const absl::StatusOr<StoredInput> input = client_.GetInput(id);
  ASSERT_TRUE(input.ok()) << input.status();
  EXPECT_EQ(input->payload.data, "6 * 7");
  EXPECT_EQ(input->payload.labels.at("a"), "b");
  EXPECT_EQ(client_.DescribeCall(id)->state, CallState::kPending);
  ASSERT_TRUE(client_.PutOutput({.call_id = id, .payload = {.data = "42"}}).ok());
  EXPECT_TRUE(WaitForState(id, CallState::kReady));
  const absl::StatusOr<ClaimedOutputs> claimed = client_.ClaimOutputs({id});
  ASSERT_TRUE(claimed.ok()) << claimed.status();
  ASSERT_EQ(claimed->outputs.size(), 1);
  EXPECT_EQ(claimed->outputs[0].payload.data, "42");
  EXPECT_TRUE(client_.RenewClaim(claimed->outputs[0].claim, absl::Seconds(9)).ok());
  const absl::StatusOr<absl::Time> ack = client_.AckOutput(claimed->outputs[0].claim);
  ASSERT_TRUE(ack.ok()) << ack.status();
  EXPECT_EQ(*ack, absl::FromUnixSeconds(1'700'000'000));
  EXPECT_EQ(ReasonOf(client_.GetInput(id).status()), Reason::kOutputConsumed);
  EXPECT_EQ(client_.DescribeCall(id)->state, CallState::kConsumed);
  EXPECT_EQ(client_.DeleteCall(id).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ClientTest, AReleasedClaimCanBeClaimedAgain) {
  const std::string id = NewReadyCall("42");
  const Claim claim = client_.ClaimOutputs({id})->outputs[0].claim;
  EXPECT_EQ(client_.ClaimOutputs({id})->pending_count, 1);
  EXPECT_TRUE(client_.ReleaseOutput(claim).ok());
  EXPECT_EQ(client_.ClaimOutputs({id})->outputs.size(), 1);
  EXPECT_EQ(ReasonOf(client_.AckOutput(claim).status()), Reason::kClaimLost);
}

TEST_F(ClientTest, ALostReplyIsAskedForWithTheSameIdAndContent) {
  server_.FailNext("PutInputs", {.when = When::kAfter});
  server_.FailNext("PutInputs", {.when = When::kBefore});
  ASSERT_TRUE(client_.PutInput({.payload = {.data = "6 * 7"}}).ok());
  const auto requests = server_.RequestsOf<v1::PutInputsRequest>();
  ASSERT_EQ(requests.size(), 3);
  EXPECT_EQ(requests[1].SerializeAsString(), requests[0].SerializeAsString());
  EXPECT_EQ(requests[2].SerializeAsString(), requests[0].SerializeAsString());
}

TEST_F(ClientTest, OnlyUnavailableIsRepeated) {
  for (const absl::StatusCode code :
       {absl::StatusCode::kCancelled, absl::StatusCode::kUnknown,
        absl::StatusCode::kInvalidArgument, absl::StatusCode::kPermissionDenied,
        absl::StatusCode::kResourceExhausted, absl::StatusCode::kInternal,
        absl::StatusCode::kUnauthenticated}) {
    const int before = server_.CountOf("DeleteCalls");
    server_.FailNext("DeleteCalls", {.status = RpcError(code, Reason::kOverloaded, "no")});
    const absl::Status status = client_.DeleteCall("x").status();
    EXPECT_EQ(status.code(), code);
    EXPECT_EQ(ReasonOf(status), Reason::kOverloaded);
    EXPECT_EQ(server_.CountOf("DeleteCalls"), before + 1);
  }
}

TEST_F(ClientTest, AnExhaustedLimitIsTheCallersWithItsDelay) {
  server_.FailNext("PutInputs",
                   {.when = When::kItem,
                    .item_status = ItemError(absl::StatusCode::kResourceExhausted,
                                             Reason::kQuotaBytes, "full", absl::Seconds(5))});
  const absl::Status status = client_.PutInput({}).status();
  EXPECT_EQ(ReasonOf(status), Reason::kQuotaBytes);
  EXPECT_EQ(RetryDelayOf(status), absl::Seconds(5));
  EXPECT_EQ(server_.CountOf("PutInputs"), 1);
}

TEST_F(ClientTest, NoAttemptBeginsWhenTheTimeoutWouldHavePassed) {
  server_.FailAlways("DescribeCalls", {.status = RpcError(absl::StatusCode::kUnavailable,
                                                          Reason::kStarting, "recovering",
                                                          /*retry_delay=*/absl::Seconds(60))});
  const absl::Time start = absl::Now();
  const absl::Status status = client_.DescribeCall("x", {.timeout = absl::Seconds(50)}).status();
  EXPECT_EQ(ReasonOf(status), Reason::kStarting) << status;
  EXPECT_EQ(server_.CountOf("DescribeCalls"), 1);
  EXPECT_LT(absl::Now() - start, absl::Seconds(25));
}

// How it ends depends on whether an attempt is under way then.
TEST_F(ClientTest, TheTimeoutBoundsAllRepetitions) {
  server_.FailAlways("DescribeCalls", {});
  const absl::Time start = absl::Now();
  const absl::Status status = client_.DescribeCall("x", {.timeout = absl::Seconds(1)}).status();
  EXPECT_TRUE(ReasonOf(status) == Reason::kStarting ||
              status == absl::DeadlineExceededError("no answer within 1s"))
      << status;
  EXPECT_LT(absl::Now() - start, QuickOptions().timeout / 2);
  EXPECT_GT(server_.CountOf("DescribeCalls"), 2);
}

TEST_F(ClientTest, TheNumberOfAttemptsIsBounded) {
  server_.FailAlways("DescribeCalls", {});
  ClientOptions options = QuickOptions();
  options.retry.attempts_max = 3;
  EXPECT_EQ(NewClient(options).DescribeCall("x").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server_.CountOf("DescribeCalls"), 3);
}

TEST_F(ClientTest, AnAttemptWithoutAnswerLeavesTimeForAnother) {
  server_.FailNext("PutInputs", {.when = When::kSilence});
  EXPECT_TRUE(client_.PutInput({}, {.timeout = absl::Seconds(6)}).ok());
  EXPECT_EQ(server_.CountOf("PutInputs"), 2);
}

TEST_F(ClientTest, NoAnswerAtAllIsDeadlineExceeded) {
  server_.FailAlways("PutInputs", {.when = When::kSilence});
  const absl::Status status = client_.PutInput({}, {.timeout = absl::Milliseconds(300)}).status();
  EXPECT_EQ(status, absl::DeadlineExceededError("no answer within 300ms"));
}

TEST_F(ClientTest, ManyItemsAreSplitByCountAndAnsweredInOrder) {
  std::vector<std::string> ids;
  for (int i = 0; i < 1300; ++i) ids.push_back(absl::StrCat("id-", i));
  const auto results = client_.DescribeCalls(ids);
  ASSERT_EQ(results.size(), ids.size());
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(results[i]->call_id, ids[i]);
  std::multiset<int> sizes;
  for (const auto& request : server_.RequestsOf<v1::DescribeCallsRequest>()) {
    sizes.insert(request.call_ids_size());
  }
  EXPECT_THAT(sizes, ElementsAre(276, 512, 512));
}

TEST_F(ClientTest, LargeItemsAreSplitByBytes) {
  std::vector<Input> inputs(7);
  for (Input& input : inputs) input.payload.data.assign(1'000'000, 'x');
  inputs[3].payload.data.assign(5'000'000, 'y');
  const auto results = client_.PutInputs(std::move(inputs));
  for (const auto& result : results) EXPECT_TRUE(result.ok()) << result.status();
  std::multiset<int> sizes;
  for (const auto& request : server_.RequestsOf<v1::PutInputsRequest>()) {
    sizes.insert(request.items_size());
    if (request.items_size() > 1) {
      EXPECT_LE(request.ByteSizeLong(), 3u << 20);
    }
  }
  EXPECT_THAT(sizes, ElementsAre(1, 3, 3));
}

TEST_F(ClientTest, TheLargestPayloadGoesBothWays) {
  const std::string data(63 << 20, 'z');
  const std::string id = client_.PutInput({.payload = {.data = data}})->call_id;
  const absl::StatusOr<StoredInput> input = client_.GetInput(id);
  ASSERT_TRUE(input.ok()) << input.status();
  EXPECT_TRUE(input->payload.data == data);
}

TEST_F(ClientTest, APayloadThatNoMessageHoldsIsRefusedWithoutAsking) {
  std::vector<Input> inputs(2);
  inputs[0].payload.data.resize(64 << 20);
  const auto results = client_.PutInputs(std::move(inputs));
  EXPECT_EQ(ReasonOf(results[0].status()), Reason::kPayloadTooLarge);
  EXPECT_THAT(results[0].status().message(), HasSubstr("67108864"));
  EXPECT_TRUE(results[1].ok());
}

TEST_F(ClientTest, OneBadItemDoesNotFailItsNeighbours) {
  const std::string id = client_.PutInput({.payload = {.data = "a"}})->call_id;
  const auto results = client_.GetInputs({"nobody", id});
  EXPECT_EQ(ReasonOf(results[0].status()), Reason::kCallUnknown);
  EXPECT_EQ(results[1]->payload.data, "a");
}

TEST_F(ClientTest, AnUnavailableItemIsAskedAgainWithoutItsNeighbours) {
  server_.FailNext("DeleteCalls", {.when = When::kItem,
                                   .item = 1,
                                   .item_status = ItemError(absl::StatusCode::kUnavailable,
                                                            Reason::kDraining, "draining")});
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(client_.PutInput({})->call_id);
  for (const auto& result : client_.DeleteCalls(ids)) {
    // The fake had deleted the failed item all the same, and says so.
    EXPECT_TRUE(result.ok() || ReasonOf(result.status()) == Reason::kCallDeleted);
  }
  const auto requests = server_.RequestsOf<v1::DeleteCallsRequest>();
  ASSERT_EQ(requests.size(), 2);
  EXPECT_THAT(requests[1].call_ids(), ElementsAre(ids[1]));
}

TEST_F(ClientTest, InputsThatDidNotFitAreAskedForAgain) {
  std::vector<Input> inputs(5);
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i].payload.data.assign(1'500'000, 'a' + i);
  std::vector<std::string> ids;
  for (const auto& put : client_.PutInputs(inputs)) ids.push_back(put->call_id);
  const auto results = client_.GetInputs(ids);
  for (size_t i = 0; i < ids.size(); ++i) {
    ASSERT_TRUE(results[i].ok()) << results[i].status();
    EXPECT_TRUE(results[i]->payload.data == inputs[i].payload.data) << i;
  }
  EXPECT_EQ(server_.CountOf("GetInputs"), 3);
}

TEST_F(ClientTest, ADamagedPayloadIsDataLoss) {
  const std::string id = NewReadyCall("42");
  server_.FailNext("GetInputs", {.when = When::kCorrupted});
  const absl::Status input = client_.GetInput(id).status();
  EXPECT_EQ(input.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ReasonOf(input), Reason::kChecksumMismatch);

  server_.FailNext("ClaimOutputs", {.when = When::kCorrupted});
  const absl::StatusOr<ClaimedOutputs> claimed = client_.ClaimOutputs({id});
  ASSERT_TRUE(claimed.ok());
  EXPECT_TRUE(claimed->outputs.empty());
  ASSERT_EQ(claimed->errors.size(), 1);
  EXPECT_EQ(claimed->errors[0].status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(server_.WaitFor("ReleaseOutputs", 1));
}

TEST_F(ClientTest, AClaimRepeatsALostPollWithItsTokenAndPollsAnewWithAnother) {
  server_.FailNext("ClaimOutputs", {.when = When::kAfter});
  const std::string id = client_.PutInput({})->call_id;
  std::thread worker([&] {
    EXPECT_TRUE(server_.WaitFor("ClaimOutputs", 4));
    server_.AddOutput(id, 1, "42");
  });
  const absl::StatusOr<ClaimedOutputs> claimed =
      client_.ClaimOutputs({id}, {.wait = absl::Seconds(120)});
  worker.join();
  ASSERT_TRUE(claimed.ok()) << claimed.status();
  ASSERT_EQ(claimed->outputs.size(), 1);
  const auto requests = server_.RequestsOf<v1::ClaimOutputsRequest>();
  EXPECT_EQ(requests[0].claim_token().size(), 16);
  EXPECT_EQ(requests[1].claim_token(), requests[0].claim_token());
  EXPECT_NE(requests[2].claim_token(), requests[1].claim_token());
  EXPECT_NE(requests[3].claim_token(), requests[2].claim_token());
  EXPECT_EQ(claimed->outputs[0].claim.token, requests.back().claim_token());
  for (const auto& request : requests) EXPECT_LE(request.wait().seconds(), 55);
}

TEST_F(ClientTest, AClaimThatFindsNothingIsNoError) {
  const std::string id = client_.PutInput({})->call_id;
  const absl::StatusOr<ClaimedOutputs> claimed =
      client_.ClaimOutputs({id, "nobody"}, {.wait = absl::Milliseconds(30)});
  ASSERT_TRUE(claimed.ok());
  EXPECT_EQ(claimed->pending_count, 1);
  ASSERT_EQ(claimed->errors.size(), 1);
  EXPECT_EQ(claimed->errors[0].call_id, "nobody");
}

TEST_F(ClientTest, AnOutputThatIsLargerThanAskedForIsNamedAndReleased) {
  const absl::StatusOr<ClaimedOutputs> claimed =
      client_.ClaimOutputs({NewReadyCall("0123456789")}, {.bytes_max = 9});
  ASSERT_EQ(claimed->errors.size(), 1);
  EXPECT_EQ(claimed->errors[0].status, absl::OutOfRangeError("output is 10 bytes, bytes_max is 9"));
  EXPECT_TRUE(server_.WaitFor("ReleaseOutputs", 1));
}

TEST_F(ClientTest, AClaimOfTooManyCallsIsRefused) {
  EXPECT_EQ(client_.ClaimOutputs(std::vector<std::string>(513, "x")).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ClientTest, CallbacksBringTheSameResults) {
  std::promise<Client::Results<Stored>> put;
  client_.PutInputsAsync({{.payload = {.data = "a"}}},
                         [&](Client::Results<Stored> results) { put.set_value(results); });
  const auto results = put.get_future().get();
  ASSERT_EQ(results.size(), 1);
  EXPECT_EQ(client_.GetInput(results[0]->call_id)->payload.data, "a");
}

TEST_F(ClientTest, AnEmptyBatchAsksNothing) {
  EXPECT_TRUE(client_.PutInputs({}).empty());
  EXPECT_TRUE(server_.Events().empty());
}

TEST_F(ClientTest, CallsUnderWayOutliveTheClient) {
  server_.FailNext("DescribeCalls", {});
  std::promise<absl::StatusCode> code;
  NewClient().DescribeCallsAsync({"x"}, [&](Client::Results<CallDescription> results) {
    code.set_value(results[0].status().code());
  });
  EXPECT_EQ(code.get_future().get(), absl::StatusCode::kOk);
}

TEST_F(ClientTest, ManyThreadsShareOneClient) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const std::string data = absl::StrCat("data of ", i);
      for (int round = 0; round < 20; ++round) {
        const std::string id = client_.PutInput({.payload = {.data = data}})->call_id;
        EXPECT_EQ(client_.GetInput(id)->payload.data, data);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(ClientConnect, NamesTheOptionThatIsWrong) {
  const auto error = [](const ClientOptions& options) {
    return std::string(Client::Connect(options).status().message());
  };
  EXPECT_THAT(error({}), HasSubstr("target is empty"));
  EXPECT_THAT(error({.target = "a:1", .timeout = absl::ZeroDuration()}), HasSubstr("timeout is 0"));
  EXPECT_THAT(error({.target = "a:1", .batch_bytes_max = 0}), HasSubstr("batch_bytes_max is 0"));
  EXPECT_THAT(error({.target = "a:1"}), HasSubstr("ca_file is empty"));
  EXPECT_EQ(error({.target = "a:1", .ca_file = "/nonexistent/ca.pem"}),
            "ca_file is /nonexistent/ca.pem, not readable: No such file or directory");
  EXPECT_EQ(error({.target = "a:1", .ca_file = "/"}), "ca_file is /, not readable: Is a directory");
  EXPECT_THAT(error({.target = "a:1",
                     .ca_file = "/dev/null",
                     .certificate_file = "/dev/null",
                     .key_file = "/dev/null"}),
              HasSubstr("ca_file is /dev/null, expected certificates of CAs in PEM"));
}

TEST(ClientConnect, UnreachableServersAreUnavailable) {
  const Client client(NewInsecureCore({.target = "127.0.0.1:1"}));
  const absl::Status status = client.DescribeCall("x", {.timeout = absl::Seconds(2)}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot reach 127.0.0.1:1: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr("refused"));
}

}  // namespace
}  // namespace mayfly::client
