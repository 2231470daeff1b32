// A claim during the download of its output: held while that makes progress, however slowly, and
// never past the output's deadline.

#include <memory>
#include <string>

#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/payload_stream.h"
#include "support/test_server.h"
#include "transfer/raw_transfer.h"
#include "transfer/transfer_client.h"

namespace mayfly {
namespace {

using ::testing::AnyOf;

constexpr absl::Duration kLease = absl::Seconds(2);
constexpr uint64_t kSegments = 24;
constexpr uint64_t kOutputBytes = kSegments * kSegmentBytes;

class ClaimRenewalTest : public testing::Test {
 protected:
  ClaimRenewalTest() : server_("[claims]\nlease_default = \"2s\"\n") {
    server_.Start();
    other_ = std::make_unique<TestClient>(server_.Channel("client"));
    // Otherwise gRPC would let the server send ahead what this client does not read yet.
    grpc::ChannelArguments arguments;
    arguments.SetInt("grpc.http2.bdp_probe", 0);
    client_ = std::make_unique<TestClient>(server_.Channel("client", arguments));
  }

  // A large output, and a claim of it for kLease.
  void PutAndClaim(absl::Duration ttl) {
    ASSERT_EQ(client_->PutInput(call_id_, "input"), "OK");
    PatternSource source(5, kOutputBytes);
    const auto put =
        ConnectClient(server_, "worker").UploadOutput({.call_id = call_id_, .ttl = ttl}, &source);
    ASSERT_TRUE(put.ok()) << put.status();
    deadline_ = *put->deadline;
    v1::ClaimOutputsRequest request;
    request.add_call_ids(call_id_);
    request.set_claim_token(token_);
    request.set_max_bytes(1);
    v1::ClaimOutputsResponse response;
    ASSERT_EQ(Summary(client_->Call(&v1::FunctionIo::Stub::ClaimOutputs, request, &response)),
              "OK");
    ASSERT_EQ(response.outputs_size(), 1);
    ASSERT_LT(TimeOf(response.outputs(0).lease_end_time()), absl::Now() + kLease + kClockMargin);
    fence_ = response.outputs(0).fence();
  }
  void BeginDownload() {
    v1::DownloadRequest request;
    request.set_call_id(call_id_);
    request.set_kind(v1::PAYLOAD_KIND_OUTPUT);
    request.set_claim_token(token_);
    request.set_fence(fence_);
    reader_ = client_->stub()->Download(&context_, request);
  }
  // Whether another client is handed the output, within `wait_s`.
  bool OtherGetsIt(int wait_s = 0) {
    v1::ClaimOutputsRequest request;
    request.add_call_ids(call_id_);
    request.set_claim_token(NewClaimToken());
    request.set_max_bytes(1);
    request.mutable_wait()->set_seconds(wait_s);
    v1::ClaimOutputsResponse response;
    EXPECT_EQ(Summary(other_->Call(&v1::FunctionIo::Stub::ClaimOutputs, request, &response)), "OK");
    return response.outputs_size() == 1;
  }

  TestServer server_;
  std::unique_ptr<TestClient> client_;
  std::unique_ptr<TestClient> other_;
  const std::string call_id_ = NewCallId();
  const std::string token_ = NewClaimToken();
  uint64_t fence_ = 0;
  absl::Time deadline_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::DownloadResponse>> reader_;
};

TEST_F(ClaimRenewalTest, AClaimLastsAsLongAsItsDownloadGoesOnHoweverSlowly) {
  const absl::Duration kPause = kLease / 4;
  PutAndClaim(absl::Hours(1));
  BeginDownload();
  const absl::Time begun = absl::Now();
  uint64_t received = 0;
  bool has_ended = false;
  v1::DownloadResponse response;
  while (reader_->Read(&response)) {
    received += response.segment().data().size();
    has_ended = response.has_finish();
    if (!response.has_segment()) continue;
    absl::SleepFor(kPause);
    EXPECT_FALSE(OtherGetsIt()) << "after " << received << " bytes";
  }
  EXPECT_EQ(Summary(reader_->Finish()), "OK");
  EXPECT_TRUE(has_ended);
  EXPECT_EQ(received, kOutputBytes);
  EXPECT_GT(absl::Now() - begun, 5 * kLease) << "or this shows nothing";
  EXPECT_EQ(client_->Ack(call_id_, token_, fence_), "OK");
}

TEST_F(ClaimRenewalTest, AClaimWhoseReaderStopsGoesToWhoWaitsForIt) {
  PutAndClaim(absl::Hours(1));
  BeginDownload();
  v1::DownloadResponse response;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(reader_->Read(&response));
  EXPECT_TRUE(OtherGetsIt(/*wait_s=*/20));
  context_.TryCancel();
  reader_->Finish();
  EXPECT_EQ(client_->Ack(call_id_, token_, fence_), "FAILED_PRECONDITION CLAIM_LOST");
}

TEST_F(ClaimRenewalTest, ADownloadEndsAtTheDeadlineWhateverWasRenewed) {
  constexpr absl::Duration kPause = absl::Milliseconds(500);
  PutAndClaim(absl::Seconds(8));
  ASSERT_LT(absl::Now(), deadline_);
  BeginDownload();
  uint64_t received = 0;
  v1::DownloadResponse response;
  while (reader_->Read(&response)) {
    received += response.segment().data().size();
    if (absl::Now() < deadline_) absl::SleepFor(kPause);
  }
  // A segment that waits for its reader just then is dropped with the stream.
  EXPECT_THAT(Summary(reader_->Finish()), AnyOf("NOT_FOUND CALL_EXPIRED", "UNAVAILABLE"));
  EXPECT_GT(absl::Now(), deadline_ - kClockMargin) << "not before it either";
  EXPECT_GT(received, 2 * kSegmentBytes);
  EXPECT_LT(received, kOutputBytes);
  EXPECT_EQ(client_->Ack(call_id_, token_, fence_), "NOT_FOUND CALL_EXPIRED");
}

}  // namespace
}  // namespace mayfly
