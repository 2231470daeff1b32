// The life of calls as clients and workers see it, over the real server.

#include <string>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "e2e/test_client.h"
#include "support/test_server.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;

class Life : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new TestServer();
    server_->Start();
  }
  static void TearDownTestSuite() {
    EXPECT_EQ(server_->Stop(), 0) << server_->Log();
    delete server_;
  }

  static TestServer* server_;
  TestClient client_{server_->Channel("client")};
  TestClient worker_{server_->Channel("worker")};
};

TestServer* Life::server_ = nullptr;

TEST_F(Life, AnOutputIsRetrievedOnceAndThenGone) {
  const std::string call_id = NewCallId();
  const std::string token = NewClaimToken();
  ASSERT_EQ(client_.PutInput(call_id, "question"), "OK");
  std::string input;
  ASSERT_EQ(worker_.GetInput(call_id, &input), "OK");
  EXPECT_EQ(input, "question");
  ASSERT_EQ(worker_.PutOutput(call_id, "answer"), "OK");

  v1::ClaimedOutput output;
  std::string ended;
  ASSERT_EQ(client_.Claim(call_id, token, &output, &ended), "OK");
  EXPECT_EQ(output.call_id(), call_id);
  EXPECT_EQ(output.payload().data(), "answer");
  EXPECT_EQ(output.payload().crc32c(), Crc32c(AsBytes("answer")));
  EXPECT_EQ(output.outcome(), v1::OUTCOME_SUCCESS);
  EXPECT_EQ(output.attempt(), 1u);
  EXPECT_TRUE(output.has_lease_end_time());
  ASSERT_EQ(client_.Ack(call_id, token, output.fence()), "OK");

  v1::ClaimedOutput again;
  EXPECT_EQ(client_.Claim(call_id, NewClaimToken(), &again, &ended), "OK");
  EXPECT_EQ(ended, "NOT_FOUND OUTPUT_CONSUMED");
  EXPECT_EQ(client_.Describe(call_id).state(), v1::CALL_STATE_CONSUMED);
  EXPECT_EQ(client_.Ack(call_id, token, output.fence()), "OK");
}

TEST_F(Life, AutomaticAckErasesBeforeItAnswers) {
  const std::string call_id = NewCallId();
  ASSERT_EQ(client_.PutInput(call_id, "question"), "OK");
  ASSERT_EQ(worker_.PutOutput(call_id, "answer"), "OK");
  v1::ClaimOutputsRequest request;
  request.add_call_ids(call_id);
  request.set_claim_token(NewClaimToken());
  request.set_ack_mode(v1::ACK_MODE_AUTO);
  v1::ClaimOutputsResponse response;
  ASSERT_EQ(Summary(client_.Call(&v1::FunctionIo::Stub::ClaimOutputs, request, &response)), "OK");
  ASSERT_EQ(response.outputs_size(), 1);
  EXPECT_EQ(response.outputs(0).payload().data(), "answer");
  EXPECT_TRUE(response.outputs(0).acked());
  EXPECT_FALSE(response.outputs(0).has_lease_end_time());
  EXPECT_EQ(client_.Describe(call_id).state(), v1::CALL_STATE_CONSUMED);
}

TEST_F(Life, AcksRideOnTheNextClaim) {
  const std::string first = NewCallId();
  const std::string second = NewCallId();
  const std::string token = NewClaimToken();
  for (const std::string& call_id : {first, second}) {
    ASSERT_EQ(client_.PutInput(call_id, "question"), "OK");
    ASSERT_EQ(worker_.PutOutput(call_id, "answer"), "OK");
  }
  v1::ClaimedOutput output;
  std::string ended;
  ASSERT_EQ(client_.Claim(first, token, &output, &ended), "OK");

  v1::ClaimOutputsRequest request;
  request.add_call_ids(second);
  request.set_claim_token(NewClaimToken());
  for (const bool is_right : {false, true}) {
    v1::AckItem* ack = request.add_acks();
    ack->set_call_id(first);
    ack->set_claim_token(token);
    ack->set_fence(output.fence());
    ack->set_crc32c(output.payload().crc32c() + (is_right ? 0 : 1));
  }
  request.add_acks()->set_call_id("no id");
  v1::ClaimOutputsResponse response;
  ASSERT_EQ(Summary(client_.Call(&v1::FunctionIo::Stub::ClaimOutputs, request, &response)), "OK");
  ASSERT_EQ(response.outputs_size(), 1);
  EXPECT_EQ(response.outputs(0).call_id(), second);
  ASSERT_EQ(response.ack_results_size(), 3);
  EXPECT_EQ(Summary(response.ack_results(0).status()), "INVALID_ARGUMENT CHECKSUM_MISMATCH");
  EXPECT_EQ(Summary(response.ack_results(1).status()), "OK");
  EXPECT_TRUE(response.ack_results(1).has_erase_time());
  EXPECT_EQ(Summary(response.ack_results(2).status()), "INVALID_ARGUMENT FIELD_INVALID");
  EXPECT_EQ(client_.Describe(first).state(), v1::CALL_STATE_CONSUMED);
  EXPECT_EQ(client_.Describe(second).state(), v1::CALL_STATE_CLAIMED);
}

// The acks are done although the claim waits in vain.
TEST_F(Life, AcksThatRideDoNotWaitForTheClaim) {
  const std::string first = NewCallId();
  const std::string token = NewClaimToken();
  ASSERT_EQ(client_.PutInput(first, "question"), "OK");
  ASSERT_EQ(worker_.PutOutput(first, "answer"), "OK");
  v1::ClaimedOutput output;
  std::string ended;
  ASSERT_EQ(client_.Claim(first, token, &output, &ended), "OK");
  const std::string pending = NewCallId();
  ASSERT_EQ(client_.PutInput(pending, "question"), "OK");

  v1::ClaimOutputsRequest request;
  request.add_call_ids(pending);
  request.set_claim_token(NewClaimToken());
  request.mutable_wait()->set_seconds(1);
  v1::AckItem* ack = request.add_acks();
  ack->set_call_id(first);
  ack->set_claim_token(token);
  ack->set_fence(output.fence());
  v1::ClaimOutputsResponse response;
  ASSERT_EQ(Summary(client_.Call(&v1::FunctionIo::Stub::ClaimOutputs, request, &response)), "OK");
  EXPECT_EQ(response.outputs_size(), 0);
  EXPECT_EQ(response.pending_count(), 1u);
  ASSERT_EQ(response.ack_results_size(), 1);
  EXPECT_EQ(Summary(response.ack_results(0).status()), "OK");
}

TEST_F(Life, WhatComesBackIsWhatWasPut) {
  v1::PutInputsRequest request;
  v1::InputItem* item = request.add_items();
  item->set_call_id(NewCallId());
  v1::Payload* payload = item->mutable_payload();
  payload->set_data(std::string("\0\xff\n", 3));
  payload->set_content_type("application/octet-stream");
  payload->set_encryption_key_id("key 7");
  (*payload->mutable_labels())["b"] = "2";
  (*payload->mutable_labels())["a"] = "1";
  payload->set_crc32c(Crc32c(AsBytes(payload->data())));
  item->mutable_ttl()->set_seconds(600);
  v1::PutInputsResponse put;
  ASSERT_EQ(Summary(client_.Call(&v1::FunctionIo::Stub::PutInputs, request, &put)), "OK");
  ASSERT_EQ(Summary(put.results(0).status()), "OK");

  v1::GetInputsRequest get;
  get.add_call_ids(item->call_id());
  v1::GetInputsResponse got;
  ASSERT_EQ(Summary(worker_.Call(&v1::FunctionIo::Stub::GetInputs, get, &got)), "OK");
  ASSERT_EQ(Summary(got.results(0).status()), "OK");
  EXPECT_TRUE(
      google::protobuf::util::MessageDifferencer::Equals(got.results(0).payload(), *payload))
      << got.results(0).payload().ShortDebugString();
  EXPECT_EQ(got.results(0).deadline_time().seconds(), put.results(0).deadline_time().seconds());
  EXPECT_EQ(got.results(0).size_bytes(), 3u);
}

TEST_F(Life, InputsThatDoNotFitComeWithTheirSizeOnly) {
  v1::PutInputsRequest request;
  for (const int size : {3, 1, 2}) {
    v1::InputItem* item = request.add_items();
    item->set_call_id(NewCallId());
    item->mutable_payload()->set_data(std::string(size, 'x'));
  }
  v1::PutInputsResponse put;
  ASSERT_EQ(Summary(client_.Call(&v1::FunctionIo::Stub::PutInputs, request, &put)), "OK");

  v1::GetInputsRequest get;
  get.set_max_bytes(2);
  for (const v1::InputItem& item : request.items()) get.add_call_ids(item.call_id());
  v1::GetInputsResponse got;
  ASSERT_EQ(Summary(worker_.Call(&v1::FunctionIo::Stub::GetInputs, get, &got)), "OK");
  ASSERT_EQ(got.results_size(), 3);
  for (const v1::GetInputResult& result : got.results()) {
    EXPECT_EQ(Summary(result.status()), "OK");
  }
  EXPECT_FALSE(got.results(0).has_payload());
  EXPECT_EQ(got.results(0).size_bytes(), 3u);
  EXPECT_EQ(got.results(1).payload().data(), "x");
  EXPECT_FALSE(got.results(2).has_payload());
  EXPECT_EQ(got.results(2).size_bytes(), 2u);
}

TEST_F(Life, ABadItemDoesNotFailItsNeighbours) {
  v1::PutInputsRequest request;
  for (const char* const data : {"first", "second", "third"}) {
    v1::InputItem* item = request.add_items();
    item->set_call_id(NewCallId());
    item->mutable_payload()->set_data(data);
  }
  request.mutable_items(1)->mutable_payload()->set_crc32c(1);
  v1::PutInputsResponse response;
  ASSERT_EQ(Summary(client_.Call(&v1::FunctionIo::Stub::PutInputs, request, &response)), "OK");
  ASSERT_EQ(response.results_size(), 3);
  EXPECT_EQ(Summary(response.results(0).status()), "OK");
  EXPECT_EQ(Summary(response.results(1).status()), "INVALID_ARGUMENT CHECKSUM_MISMATCH");
  EXPECT_THAT(response.results(1).status().message(), HasSubstr("items[1].payload.crc32c"));
  EXPECT_EQ(Summary(response.results(2).status()), "OK");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(response.results(i).call_id(), request.items(i).call_id());
}

TEST_F(Life, APayloadThatIsMissingIsNotAnEmptyOne) {
  v1::PutInputsRequest request;
  request.add_items()->set_call_id(NewCallId());
  request.add_items()->set_call_id(NewCallId());
  request.mutable_items(1)->mutable_payload();
  v1::PutInputsResponse response;
  ASSERT_EQ(Summary(client_.Call(&v1::FunctionIo::Stub::PutInputs, request, &response)), "OK");
  EXPECT_EQ(Summary(response.results(0).status()), "INVALID_ARGUMENT FIELD_INVALID");
  EXPECT_THAT(response.results(0).status().message(), HasSubstr("items[0].payload is missing"));
  EXPECT_EQ(Summary(response.results(1).status()), "OK");

  v1::PutOutputsRequest output;
  output.add_items()->set_call_id(request.items(1).call_id());
  v1::PutOutputsResponse put;
  ASSERT_EQ(Summary(worker_.Call(&v1::FunctionIo::Stub::PutOutputs, output, &put)), "OK");
  EXPECT_EQ(Summary(put.results(0).status()), "INVALID_ARGUMENT FIELD_INVALID");
}

TEST_F(Life, AnOutputThatComesAfterTheAckIsToldSo) {
  const std::string call_id = NewCallId();
  const std::string token = NewClaimToken();
  ASSERT_EQ(client_.PutInput(call_id, "question"), "OK");
  ASSERT_EQ(worker_.PutOutput(call_id, "answer"), "OK");
  v1::ClaimedOutput claimed;
  std::string ended;
  ASSERT_EQ(client_.Claim(call_id, token, &claimed, &ended), "OK");
  EXPECT_EQ(client_.Describe(call_id).lease_end_time().seconds(),
            claimed.lease_end_time().seconds());
  ASSERT_EQ(client_.Ack(call_id, token, claimed.fence()), "OK");
  EXPECT_TRUE(client_.Describe(call_id).has_end_time());

  v1::PutOutputsRequest request;
  v1::OutputItem* const item = request.add_items();
  item->set_call_id(call_id);
  item->mutable_payload()->set_data("another answer");
  v1::PutOutputsResponse response;
  ASSERT_EQ(Summary(worker_.Call(&v1::FunctionIo::Stub::PutOutputs, request, &response)), "OK");
  EXPECT_EQ(Summary(response.results(0).status()), "OK");
  EXPECT_TRUE(response.results(0).consumed());
  EXPECT_FALSE(response.results(0).has_deadline_time());
}

TEST_F(Life, TheServerMintsAnIdWhenThereIsNone) {
  v1::PutInputsRequest request;
  request.add_items()->mutable_payload()->set_data("question");
  v1::PutInputsResponse response;
  ASSERT_EQ(Summary(client_.Call(&v1::FunctionIo::Stub::PutInputs, request, &response)), "OK");
  ASSERT_EQ(Summary(response.results(0).status()), "OK");
  std::string input;
  ASSERT_EQ(worker_.GetInput(response.results(0).call_id(), &input), "OK");
  EXPECT_EQ(input, "question");
}

TEST_F(Life, AMalformedIdInAClaimHasEndedAndIsNotWaitedFor) {
  const std::string pending = NewCallId();
  ASSERT_EQ(client_.PutInput(pending, "question"), "OK");
  v1::ClaimOutputsRequest request;
  request.add_call_ids(pending);
  request.add_call_ids("nonsense");
  request.add_call_ids(pending);
  request.set_claim_token(NewClaimToken());
  request.mutable_wait()->set_seconds(50);  // longer than an RPC of this test may take
  v1::ClaimOutputsResponse response;
  ASSERT_EQ(Summary(client_.Call(&v1::FunctionIo::Stub::ClaimOutputs, request, &response)), "OK");
  ASSERT_EQ(response.ended_size(), 1);
  EXPECT_EQ(response.ended(0).call_id(), "nonsense");
  EXPECT_EQ(Summary(response.ended(0).status()), "INVALID_ARGUMENT FIELD_INVALID");
  EXPECT_EQ(response.pending_count(), 1u);  // the same id twice counts once
}

TEST_F(Life, ALongPollIsAnsweredByTheOutput) {
  const std::string call_id = NewCallId();
  ASSERT_EQ(client_.PutInput(call_id, "question"), "OK");
  grpc::ClientContext context;
  v1::ClaimOutputsRequest request;
  request.add_call_ids(call_id);
  request.set_claim_token(NewClaimToken());
  request.mutable_wait()->set_seconds(25);
  v1::ClaimOutputsResponse response;
  grpc::CompletionQueue queue;
  grpc::Status status;
  const auto reader = client_.stub()->AsyncClaimOutputs(&context, request, &queue);
  reader->Finish(&response, &status, nullptr);
  ASSERT_EQ(worker_.PutOutput(call_id, "answer"), "OK");
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  ASSERT_EQ(Summary(status), "OK");
  ASSERT_EQ(response.outputs_size(), 1);
  EXPECT_EQ(response.outputs(0).payload().data(), "answer");
}

TEST_F(Life, ACancelledPollClaimsNothing) {
  const std::string call_id = NewCallId();
  ASSERT_EQ(client_.PutInput(call_id, "question"), "OK");
  v1::ClaimOutputsRequest request;
  request.add_call_ids(call_id);
  request.set_claim_token(NewClaimToken());
  request.mutable_wait()->set_seconds(50);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  v1::ClaimOutputsResponse response;
  EXPECT_EQ(Summary(client_.stub()->ClaimOutputs(&context, request, &response)),
            "DEADLINE_EXCEEDED");
  ASSERT_EQ(worker_.PutOutput(call_id, "answer"), "OK");
  v1::ClaimedOutput output;
  std::string ended;
  ASSERT_EQ(client_.Claim(call_id, NewClaimToken(), &output, &ended), "OK");
  EXPECT_EQ(output.payload().data(), "answer");
}

TEST_F(Life, APayloadMayFillAMessage) {
  const std::string call_id = NewCallId();
  const std::string data(63 << 20, 'x');
  ASSERT_EQ(client_.PutInput(call_id, data), "OK");
  v1::GetInputsRequest request;
  request.add_call_ids(call_id);
  request.set_max_bytes(data.size());
  v1::GetInputsResponse response;
  ASSERT_EQ(Summary(worker_.Call(&v1::FunctionIo::Stub::GetInputs, request, &response)), "OK");
  EXPECT_TRUE(response.results(0).payload().data() == data);

  // One byte more than is asked for is none at all.
  request.set_max_bytes(data.size() - 1);
  ASSERT_EQ(Summary(worker_.Call(&v1::FunctionIo::Stub::GetInputs, request, &response)), "OK");
  EXPECT_EQ(Summary(response.results(0).status()), "OK");
  EXPECT_FALSE(response.results(0).has_payload());
  EXPECT_EQ(response.results(0).size_bytes(), data.size());
  EXPECT_EQ(client_.Delete(call_id), "OK");
}

TEST_F(Life, ABatchHasOneToFiveHundredAndTwelveItems) {
  v1::DescribeCallsRequest request;
  v1::DescribeCallsResponse response;
  const auto describe = [&] {
    return Summary(client_.Call(&v1::FunctionIo::Stub::DescribeCalls, request, &response));
  };
  EXPECT_EQ(describe(), "INVALID_ARGUMENT FIELD_INVALID");
  for (int i = 0; i < 512; ++i) request.add_call_ids(NewCallId());
  EXPECT_EQ(describe(), "OK");
  EXPECT_EQ(response.results_size(), 512);
  request.add_call_ids(NewCallId());
  EXPECT_EQ(describe(), "INVALID_ARGUMENT FIELD_INVALID");
}

}  // namespace
}  // namespace mayfly
