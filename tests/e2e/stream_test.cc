// StreamOutputs and StreamPuts over the real server.

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "e2e/test_client.h"
#include "support/test_server.h"

namespace mayfly {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kMuch = uint64_t{1} << 40;

// One StreamOutputs RPC as a test wants to write it.
class OutputStreamCall {
 public:
  explicit OutputStreamCall(TestClient* client) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    stream_ = client->stub()->StreamOutputs(&context_);
  }
  // It was left open: broken, as far as the server can tell.
  ~OutputStreamCall() {
    if (!finished_) Break();
  }

  // A first message, with credit.
  static v1::StreamOutputsRequest Opening(uint32_t items = 1'000'000, uint64_t bytes = kMuch) {
    v1::StreamOutputsRequest request;
    request.mutable_open()->set_claim_token(NewClaimToken());
    request.mutable_credit()->set_item_count(items);
    request.mutable_credit()->set_bytes(bytes);
    return request;
  }

  bool Write(const v1::StreamOutputsRequest& request) { return stream_->Write(request); }
  bool Read(v1::StreamOutputsResponse* response) { return stream_->Read(response); }
  void HalfClose() { stream_->WritesDone(); }
  std::string Finish() {
    finished_ = true;
    status_ = stream_->Finish();
    return Summary(status_);
  }
  // Reads to the end.
  std::string FinishAfterRest() {
    v1::StreamOutputsResponse rest;
    while (Read(&rest)) {
    }
    return Finish();
  }
  const std::string& message() const {
    message_ = status_.error_message();
    return message_;
  }
  void Break() {
    context_.TryCancel();
    Finish();
  }

  // The next output; what else comes on the way is kept in `results`.
  v1::ClaimedOutput NextOutput() {
    while (outputs_.empty() && ReadOne()) {
    }
    if (outputs_.empty()) return {};
    v1::ClaimedOutput output = std::move(outputs_.front());
    outputs_.erase(outputs_.begin());
    return output;
  }
  v1::EndedCall NextEnded() {
    while (ended_.empty() && ReadOne()) {
    }
    if (ended_.empty()) return {};
    v1::EndedCall call = std::move(ended_.front());
    ended_.erase(ended_.begin());
    return call;
  }
  std::string NextAckResult() {
    while (ack_results_.empty() && ReadOne()) {
    }
    if (ack_results_.empty()) return "the stream ended";
    const std::string result = Summary(ack_results_.front().status());
    ack_results_.erase(ack_results_.begin());
    return result;
  }

 private:
  bool ReadOne() {
    v1::StreamOutputsResponse response;
    if (!Read(&response)) return false;
    outputs_.insert(outputs_.end(), response.outputs().begin(), response.outputs().end());
    ended_.insert(ended_.end(), response.ended().begin(), response.ended().end());
    ack_results_.insert(ack_results_.end(), response.ack_results().begin(),
                        response.ack_results().end());
    return true;
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::StreamOutputsRequest, v1::StreamOutputsResponse>>
      stream_;
  bool finished_ = false;
  grpc::Status status_;
  mutable std::string message_;
  std::vector<v1::ClaimedOutput> outputs_;
  std::vector<v1::EndedCall> ended_;
  std::vector<v1::AckResult> ack_results_;
};

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
  OutputStreamCall call(client_.get());
  v1::StreamOutputsRequest request = OutputStreamCall::Opening();
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
    v1::StreamOutputsRequest ack;
    v1::AckItem* const item = ack.add_acks();
    item->set_call_id(output.call_id());
    item->set_fence(output.fence());
    item->set_crc32c(output.payload().crc32c());
    ASSERT_TRUE(call.Write(ack));
    EXPECT_EQ(call.NextAckResult(), "OK");
    EXPECT_EQ(client_->Describe(ids[i]).state(), v1::CALL_STATE_CONSUMED);
  }
  call.HalfClose();
  EXPECT_EQ(call.FinishAfterRest(), "OK");
}

TEST_F(StreamTest, PutsAreAnsweredByMessage) {
  grpc::ClientContext context;
  const auto stream = client_->stub()->StreamPuts(&context);
  std::set<uint64_t> sequences;
  for (uint64_t sequence = 1; sequence <= 100; ++sequence) {
    v1::StreamPutsRequest request;
    request.set_sequence(sequence);
    for (int i = 0; i < 10; ++i) {
      v1::InputItem* const item = request.add_inputs();
      item->set_call_id(i == 3 ? "no id" : NewCallId());
      item->mutable_payload()->set_data(absl::StrCat("input ", sequence));
    }
    ASSERT_TRUE(stream->Write(request));
    sequences.insert(sequence);
  }
  stream->WritesDone();
  v1::StreamPutsResponse response;
  while (stream->Read(&response)) {
    EXPECT_EQ(sequences.erase(response.sequence()), 1u);
    ASSERT_EQ(response.input_results_size(), 10);
    for (int i = 0; i < 10; ++i) {
      EXPECT_EQ(Summary(response.input_results(i).status()),
                i == 3 ? "INVALID_ARGUMENT FIELD_INVALID" : "OK");
    }
  }
  EXPECT_EQ(Summary(stream->Finish()), "OK");
  EXPECT_TRUE(sequences.empty());
}

}  // namespace
}  // namespace mayfly
