// Payloads that are streamed from the server.
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "client/client_fixture.h"
#include "client/download_transfer.h"
#include "client/payload_ends.h"

namespace mayfly::client {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using When = Fault::When;

class DownloadTest : public ClientFixture {
 protected:
  std::string NewInput(const std::string& data) {
    const absl::StatusOr<Stored> put = client_.PutInput({.payload = {.data = data}});
    EXPECT_TRUE(put.ok()) << put.status();
    return put->call_id;
  }
  std::vector<uint64_t> StreamOffsets() {
    std::vector<uint64_t> offsets;
    for (const auto& request : server_.RequestsOf<v1::DownloadRequest>()) {
      offsets.push_back(request.offset_bytes());
    }
    return offsets;
  }
  // What came, if it was told to be whole.
  absl::StatusOr<std::string> Retrieve(const std::string& id) {
    const absl::StatusOr<Retrieved> retrieved = client_.RetrieveInto(id, &sink_);
    if (!retrieved.ok()) return retrieved.status();
    return sink_.data;
  }

  const std::string data_ = Pattern(3 * kMiB + 17);
  TestSink sink_;
};

TEST_F(DownloadTest, AnInputThatDoesNotFitIntoAMessageIsDownloaded) {
  const std::string id = NewInput(data_);
  const absl::StatusOr<StoredInput> input = client_.GetInput(id);
  ASSERT_TRUE(input.ok()) << input.status();
  EXPECT_TRUE(input->payload.data == data_);
  EXPECT_EQ(input->size_bytes, data_.size());
  EXPECT_EQ(server_.CountOf("Download"), 1);
}

TEST_F(DownloadTest, ABatchAsksForMoreThanItsBytesRatherThanForNothing) {
  std::vector<std::string> ids;
  for (const size_t bytes : {5 * kMiB, size_t{10}, 4 * kMiB})
    ids.push_back(NewInput(Pattern(bytes)));
  const auto inputs = client_.GetInputs(ids);
  ASSERT_TRUE(inputs[0].ok()) << inputs[0].status();
  EXPECT_TRUE(inputs[0]->payload.data == Pattern(5 * kMiB));
  EXPECT_EQ(inputs[1]->payload.data, Pattern(10));
  EXPECT_TRUE(inputs[2]->payload.data == Pattern(4 * kMiB));
  std::vector<uint64_t> asked;
  for (const auto& request : server_.RequestsOf<v1::GetInputsRequest>()) {
    asked.push_back(request.max_bytes());
  }
  EXPECT_THAT(asked, ElementsAre(3 * kMiB, 4 * kMiB, 5 * kMiB));
}

TEST_F(DownloadTest, WhatNoMessageHoldsIsOutOfRangeInABatch) {
  const std::string id = NewInput(std::string(65 * kMiB, 'x'));
  const auto inputs = client_.GetInputs({id});
  EXPECT_EQ(inputs[0].status(), absl::OutOfRangeError("payload is 68157440 bytes and does not come "
                                                      "in a message"));
  EXPECT_EQ(server_.CountOf("GetInputs"), 1);
}

TEST_F(DownloadTest, GoesOnFromWhatItHas) {
  server_.FailNext("Download", {.when = When::kBroken, .item = 1});
  server_.FailNext("Download", {.when = When::kBefore});
  const std::string id = NewReadyCall(data_);
  const absl::StatusOr<std::string> output = Retrieve(id);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(*output == data_);
  EXPECT_THAT(StreamOffsets(), ElementsAre(0, 2 * kMiB, 2 * kMiB));
  const auto requests = server_.RequestsOf<v1::DownloadRequest>();
  EXPECT_EQ(requests[2].claim_token(), requests[0].claim_token());
  EXPECT_EQ(requests[2].fence(), requests[0].fence());
  EXPECT_THAT(sink_.offsets, ElementsAre(0, kMiB, 2 * kMiB, 3 * kMiB));
  EXPECT_THAT(sink_.sizes, ElementsAre(data_.size()));
  EXPECT_EQ(server_.RequestsOf<v1::AckOutputsRequest>()[0].items(0).crc32c(),
            Crc32c(AsBytes(data_)));
}

TEST_F(DownloadTest, AStreamThatEndsTooSoonNeverLooksComplete) {
  for (const When when : {When::kTruncated, When::kUnfinished}) {
    for (int segment = 0; segment < 3; ++segment) {
      server_.FailNext("Download", {.when = when, .item = segment});
      sink_ = TestSink();
      const absl::StatusOr<std::string> output = Retrieve(NewReadyCall(data_));
      ASSERT_TRUE(output.ok()) << output.status();
      EXPECT_TRUE(*output == data_);
      EXPECT_THAT(sink_.sizes, ElementsAre(data_.size()));
      EXPECT_EQ(StreamOffsets().back(), (segment + 1) * kMiB);
    }
  }
}

TEST_F(DownloadTest, AStreamThatAlwaysEndsTooSoonIsGivenUp) {
  server_.FailAlways("Download", {.when = When::kTruncated, .item = -1});
  ClientOptions options = QuickOptions();
  options.retry.attempts_max = 3;
  const absl::Status status = NewClient(options).DownloadInput(NewInput(data_), &sink_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(server_.CountOf("Download"), 3);
  EXPECT_THAT(sink_.sizes, IsEmpty());
}

TEST_F(DownloadTest, WhatIsDamagedOnTheWayIsDataLossAndNotAcknowledged) {
  for (const When when : {When::kCorrupted, When::kWrongCrc}) {
    server_.FailNext("Download", {.when = when});
    const std::string id = NewReadyCall(data_);
    const absl::Status status = Retrieve(id).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_EQ(ReasonOf(status), Reason::kChecksumMismatch);
    EXPECT_THAT(sink_.sizes, IsEmpty());
    EXPECT_TRUE(WaitForState(id, CallState::kReady));
  }
  EXPECT_EQ(server_.CountOf("Ack"), 0);
}

TEST_F(DownloadTest, ASegmentAtAnotherOffsetIsTheServersFault) {
  server_.FailNext("Download", {.when = When::kOverlap, .item = 0});
  const absl::Status status = client_.DownloadInput(NewInput(data_), &sink_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
  EXPECT_THAT(sink_.offsets, ElementsAre(0));
}

TEST_F(DownloadTest, AClaimThatWasLostOnTheWayIsMadeAgain) {
  server_.FailNext("Download", {.when = When::kBroken, .item = 0});
  server_.FailNext("Download", {.status = RpcError(absl::StatusCode::kFailedPrecondition,
                                                   Reason::kClaimLost, "lost")});
  const std::string id = NewReadyCall(data_);
  const absl::StatusOr<std::string> output = Retrieve(id);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(*output == data_);
  EXPECT_THAT(StreamOffsets(), ElementsAre(0, kMiB, kMiB));
  const auto claims = server_.RequestsOf<v1::ClaimOutputsRequest>();
  ASSERT_EQ(claims.size(), 2);
  EXPECT_EQ(claims[0].claim_token(), claims[1].claim_token());
  EXPECT_EQ(client_.DescribeCall(id)->state, CallState::kConsumed);
}

TEST_F(DownloadTest, WhatTheSinkKeepsIsNotSentAgain) {
  for (const size_t kept : {size_t{1}, kMiB + 5, data_.size()}) {
    sink_ = TestSink();
    sink_.kept = data_.substr(0, kept);
    const absl::StatusOr<std::string> output = Retrieve(NewReadyCall(data_));
    ASSERT_TRUE(output.ok()) << output.status();
    EXPECT_TRUE(*output == data_);
    EXPECT_EQ(StreamOffsets().back(), kept);
    EXPECT_THAT(sink_.versions, ElementsAre(testing::Pair(1, data_.size())));
  }
}

TEST_F(DownloadTest, OfAnInputTheSinkKeepsWhateverThereIs) {
  sink_.kept = data_.substr(0, kMiB);
  sink_.kept_attempt = 0;
  ASSERT_TRUE(client_.DownloadInput(NewInput(data_), &sink_).ok());
  EXPECT_TRUE(sink_.data == data_);
  EXPECT_THAT(StreamOffsets(), ElementsAre(kMiB));
}

TEST_F(DownloadTest, WhatTheSinkKeepsOfAnotherPayloadIsFoundOutAndSentAgainOnce) {
  sink_.kept = Pattern(2 * kMiB, 7);
  const absl::StatusOr<std::string> output = Retrieve(NewReadyCall(data_));
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(*output == data_);
  EXPECT_THAT(StreamOffsets(), ElementsAre(2 * kMiB, 0));
  EXPECT_THAT(sink_.sizes, ElementsAre(data_.size()));

  sink_ = TestSink();
  sink_.kept = Pattern(2 * kMiB, 7);
  server_.FailNext("Download", {.when = When::kCorrupted});
  server_.FailNext("Download", {.when = When::kCorrupted});
  EXPECT_TRUE(absl::IsDataLoss(Retrieve(NewReadyCall(data_)).status()));
  EXPECT_THAT(sink_.sizes, IsEmpty());
}

TEST_F(DownloadTest, AClaimOfAnotherProcessIsTakenOverByItsToken) {
  const std::string id = NewReadyCall(data_);
  const std::string token = MintClaimToken();
  ASSERT_EQ(NewClient().ClaimOutputs({id}, {.claim_larger = true, .token = token})->outputs.size(),
            1);
  EXPECT_EQ(ReasonOf(Retrieve(id).status()), Reason::kOutputPending);
  for (const absl::Duration wait : {absl::ZeroDuration(), absl::Hours(1)}) {
    const auto retrieved = client_.RetrieveInto(
        id, &sink_,
        {.wait = wait, .claim_token = token, .before_ack = [&](const ClaimedOutput& output) {
           EXPECT_THAT(sink_.sizes, testing::Not(IsEmpty()));
           EXPECT_EQ(output.size_bytes, data_.size());
           EXPECT_EQ(server_.CountOf("Ack"), 0);
           return wait == absl::ZeroDuration() ? absl::AbortedError("not yet") : absl::OkStatus();
         }});
    if (wait == absl::ZeroDuration()) {
      EXPECT_EQ(retrieved.status(), absl::AbortedError("not yet"));
      EXPECT_TRUE(WaitForState(id, CallState::kReady));
    } else {
      ASSERT_TRUE(retrieved.ok()) << retrieved.status();
    }
  }
  EXPECT_EQ(client_.DescribeCall(id)->state, CallState::kConsumed);
}

// The pauses are long enough for another to come between.
class SlowRetryDownloadTest : public DownloadTest {
 protected:
  SlowRetryDownloadTest() {
    ClientOptions options = QuickOptions();
    options.retry.delay_min = options.retry.delay_max = absl::Seconds(2);
    client_ = NewClient(options);
    server_.FailNext("Download", {.when = When::kBroken, .item = 0});
  }
  // Runs `between` in the pause after the first stream.
  absl::StatusOr<std::string> RetrieveWith(const std::string& id,
                                           const std::function<void()>& between) {
    std::thread other([&] {
      EXPECT_TRUE(server_.WaitFor("Download", 1));
      between();
    });
    absl::StatusOr<std::string> output = Retrieve(id);
    other.join();
    return output;
  }
};

TEST_F(SlowRetryDownloadTest, AnOutputThatWasReplacedMeanwhileBeginsAnew) {
  const std::string id = NewReadyCall(data_);
  const std::string later = Pattern(2 * kMiB + 5, 3);
  const absl::StatusOr<std::string> output = RetrieveWith(id, [&] {
    server_.ForgetClaims();
    server_.AddOutput(id, 2, later);
  });
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(*output == later);
  EXPECT_THAT(sink_.sizes, ElementsAre(later.size()));
}

TEST_F(SlowRetryDownloadTest, AClaimThatAnotherClientHasNowIsLost) {
  const std::string id = NewReadyCall(data_);
  const absl::Status status =
      RetrieveWith(id, [&] { server_.ClaimElsewhere(id, /*ack=*/false); }).status();
  EXPECT_EQ(ReasonOf(status), Reason::kClaimLost) << status;
  EXPECT_THAT(sink_.sizes, IsEmpty());
}

TEST_F(SlowRetryDownloadTest, AnAckOfAnotherClientIsTold) {
  const std::string id = NewReadyCall(data_);
  const absl::Status status =
      RetrieveWith(id, [&] { server_.ClaimElsewhere(id, /*ack=*/true); }).status();
  EXPECT_EQ(ReasonOf(status), Reason::kOutputConsumed) << status;
}

TEST_F(DownloadTest, MoreThanMemoryShallHoldIsRefusedBeforeItIsBrought) {
  ClientOptions options = QuickOptions();
  options.data_bytes_max = 2 * kMiB;
  const Client client = NewClient(options);
  const std::string id = NewReadyCall(data_);
  ASSERT_TRUE(client_.PutInput({.call_id = id, .payload = {.data = "input"}}).ok());
  EXPECT_EQ(client.AwaitOutput(id).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(WaitForState(id, CallState::kReady));
  EXPECT_EQ(client.GetInput(NewInput(data_)).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(server_.CountOf("Download"), 0);
}

TEST_F(DownloadTest, AnErrorOfTheSinkIsTheResultAndReleasesTheClaim) {
  sink_.error = absl::ResourceExhaustedError("disk full");
  sink_.error_from = kMiB;
  const std::string id = NewReadyCall(data_);
  EXPECT_EQ(Retrieve(id).status(), sink_.error);
  EXPECT_TRUE(WaitForState(id, CallState::kReady));

  sink_ = TestSink();
  sink_.finish_error = absl::DataLossError("fsync failed");
  EXPECT_EQ(Retrieve(id).status(), sink_.finish_error);
  EXPECT_TRUE(WaitForState(id, CallState::kReady));
  EXPECT_EQ(server_.CountOf("Ack"), 0);
}

TEST_F(DownloadTest, ASmallOutputGoesIntoASinkToo) {
  for (const size_t bytes : {0, 1, 1000}) {
    sink_ = TestSink();
    const std::string id = NewReadyCall(Pattern(bytes));
    const absl::StatusOr<std::string> output = Retrieve(id);
    ASSERT_TRUE(output.ok()) << output.status();
    EXPECT_EQ(*output, Pattern(bytes));
    EXPECT_THAT(sink_.sizes, ElementsAre(bytes));
  }
  EXPECT_EQ(server_.CountOf("Download"), 0);
}

TEST_F(DownloadTest, WhatIsClaimedWithoutItsDataIsDownloadedAndAcknowledged) {
  const std::string id = NewReadyCall(data_);
  const absl::StatusOr<ClaimedOutputs> claimed = client_.ClaimOutputs({id}, {.claim_larger = true});
  ASSERT_TRUE(claimed.ok()) << claimed.status();
  ASSERT_EQ(claimed->outputs.size(), 1);
  EXPECT_TRUE(claimed->outputs[0].data_omitted);
  EXPECT_EQ(claimed->outputs[0].size_bytes, data_.size());
  const absl::StatusOr<ClaimedOutput> output = client_.DownloadOutput(claimed->outputs[0], &sink_);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(sink_.data == data_);
  EXPECT_EQ(output->claim.crc32c, Crc32c(AsBytes(data_)));
  EXPECT_TRUE(client_.AckOutput(output->claim).ok());
}

TEST_F(DownloadTest, EndsWithItsTimeoutOrWhenItIsCancelled) {
  server_.FailAlways("Download", {.when = When::kSilence});
  const std::string id = NewInput(data_);
  EXPECT_EQ(client_.DownloadInput(id, &sink_, {.timeout = absl::Milliseconds(50)}).status(),
            absl::DeadlineExceededError("no answer within 50ms"));
  const int before = server_.CountOf("Download");
  const Cancellation cancellation;
  std::thread canceller([&] {
    EXPECT_TRUE(server_.WaitFor("Download", before + 1));
    cancellation.Cancel();
  });
  EXPECT_EQ(client_.DownloadInput(id, &sink_, {.cancellation = cancellation}).status().code(),
            absl::StatusCode::kCancelled);
  canceller.join();
  EXPECT_THAT(sink_.offsets, IsEmpty());
}

}  // namespace
}  // namespace mayfly::client
