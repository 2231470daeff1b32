// Outputs that a stream has delivered: their acks and releases, and the end of the stream.
#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <set>

#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/output_stream_fixture.h"
#include "client/payload_ends.h"
#include "mayfly/output_stream.h"

namespace mayfly::client {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using When = Fault::When;

TEST_F(OutputStreamTest, AnAckWhoseAnswerWasLostIsRepeated) {
  for (const When when : {When::kBefore, When::kAfter}) {
    server_.FailNext("AckOutputs", {.when = when});
    const std::vector<std::string> ids = NewReadyCalls(1);
    const OutputStream stream = client_.StreamOutputs();
    stream.Subscribe(ids);
    const auto outputs = TakeAll(stream);
    ASSERT_THAT(outputs, SizeIs(1));
    stream.Ack(outputs.begin()->second.claim);
    const absl::Status status = stream.Flush();
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(CountIn(CallState::kConsumed, ids), 1);
  }
  EXPECT_GE(server_.CountOf("AckOutputs"), 2);
}

TEST_F(OutputStreamTest, FlushTellsTheFirstErrorOnce) {
  const std::vector<std::string> ids = NewReadyCalls(3);
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe(ids);
  auto outputs = TakeAll(stream);
  server_.ClaimElsewhere(ids[1], /*ack=*/true);
  for (const auto& [id, output] : outputs) stream.Ack(output.claim);
  EXPECT_EQ(ReasonOf(stream.Flush()), Reason::kOutputConsumed);
  EXPECT_TRUE(stream.Flush().ok());
  EXPECT_EQ(CountIn(CallState::kConsumed, ids), 3);
}

TEST_F(OutputStreamTest, AnAckOfSomethingElseIsRefused) {
  const std::vector<std::string> ids = NewReadyCalls(1);
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe(ids);
  Claim claim = TakeAll(stream).begin()->second.claim;
  claim.crc32c = ~*claim.crc32c;
  std::promise<absl::Status> acked;
  stream.Ack(claim,
             [&](const absl::StatusOr<absl::Time>& result) { acked.set_value(result.status()); });
  EXPECT_EQ(ReasonOf(acked.get_future().get()), Reason::kChecksumMismatch);
  // An error that was told to a callback is not Flush's.
  EXPECT_TRUE(stream.Flush().ok());
  EXPECT_EQ(CountIn(CallState::kClaimed, ids), 1);
}

TEST_F(OutputStreamTest, AnOutputThatWasReplacedBeforeItsAckIsNotAcknowledged) {
  server_.FailNext("Subscription", {.when = When::kBroken, .item = 0});
  const std::vector<std::string> ids = NewReadyCalls(1);
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe(ids);
  const auto outputs = TakeAll(stream);
  ASSERT_TRUE(WaitForCount(CallState::kReady, ids, 1));
  server_.AddOutput(ids[0], 2, "output of " + ids[0]);
  stream.Ack(outputs.begin()->second.claim);
  EXPECT_EQ(ReasonOf(stream.Flush()), Reason::kClaimLost);
  EXPECT_TRUE(WaitForCount(CallState::kReady, ids, 1));
  stream.Subscribe(ids);
  EXPECT_EQ(TakeAll(stream).begin()->second.attempt, 2);
}

TEST_F(OutputStreamTest, ClaimsAreRenewedUntilTheirAck) {
  const std::vector<std::string> ids = NewReadyCalls(3);
  const OutputStream stream = client_.StreamOutputs({.lease = absl::Milliseconds(120)});
  stream.Subscribe(ids);
  const auto outputs = TakeAll(stream);
  ASSERT_TRUE(server_.WaitFor("RenewClaims", 3));
  for (const auto& [id, output] : outputs) stream.Ack(output.claim);
  EXPECT_TRUE(stream.Flush().ok());
  const auto renewals = server_.RequestsOf<v1::RenewClaimsRequest>();
  EXPECT_EQ(renewals.back().lease().nanos(), 120'000'000);
  EXPECT_EQ(Openings()[0].open().lease().nanos(), 120'000'000);
  // Those that are due at about the same time go together.
  EXPECT_EQ(renewals.back().items_size(), 3);
}

TEST_F(OutputStreamTest, WhatIsReleasedAnotherClientMayHave) {
  const std::vector<std::string> ids = NewReadyCalls(2);
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe(ids);
  const auto outputs = TakeAll(stream);
  stream.Release(outputs.at(ids[0]).claim);
  EXPECT_TRUE(stream.Flush().ok());
  EXPECT_EQ(client_.DescribeCall(ids[0])->state, CallState::kReady);
  EXPECT_EQ(client_.DescribeCall(ids[1])->state, CallState::kClaimed);
  // It may be waited for again.
  stream.Subscribe({ids[0]});
  EXPECT_THAT(TakeAll(stream), SizeIs(1));
}

TEST_F(OutputStreamTest, WhatIsHeldIsNotToldOfAgain) {
  const std::vector<std::string> ids = NewReadyCalls(2);
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe(ids);
  const auto outputs = TakeAll(stream);
  stream.Subscribe(ids);
  EXPECT_TRUE(absl::IsOutOfRange(stream.Next().status()));
  for (const auto& [id, output] : outputs) stream.Ack(output.claim);
  EXPECT_TRUE(stream.Flush().ok());
}

TEST_F(OutputStreamTest, ACallThatIsUnsubscribedIsNotClaimed) {
  const std::vector<std::string> ids = NewCalls(3);
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe(ids);
  stream.Unsubscribe({ids[0], ids[2]});
  EXPECT_EQ(stream.PendingCount(), 1);
  for (const std::string& id : ids) server_.AddOutput(id, 1, "output of " + id);
  EXPECT_THAT(TakeAll(stream), SizeIs(1));
  EXPECT_TRUE(WaitForCount(CallState::kReady, ids, 2));
}

TEST_F(OutputStreamTest, AClosedStreamGivesBackWhatItHolds) {
  const std::vector<std::string> ids = NewReadyCalls(6);
  {
    const OutputStream stream = client_.StreamOutputs();
    stream.Subscribe(ids);
    ASSERT_TRUE(WaitForCount(CallState::kClaimed, ids, 6));
    for (int i = 0; i < 2; ++i) stream.Ack(stream.Next()->output->claim);
  }
  // The acks that were given are carried out.
  EXPECT_TRUE(WaitForCount(CallState::kConsumed, ids, 2));
  EXPECT_TRUE(WaitForCount(CallState::kReady, ids, 4));
}

TEST_F(OutputStreamTest, AClosedStreamBringsNothingAnyMore) {
  server_.FailNext("Download", {.when = When::kSilence});
  const std::vector<std::string> ids = NewCalls(4);
  for (const std::string& id : ids) server_.AddOutput(id, 1, Pattern(2 * kMiB));
  {
    const OutputStream stream = client_.StreamOutputs({.window_bytes = 1});
    stream.Subscribe(ids);
    ASSERT_TRUE(server_.WaitFor("Download", 1));
  }
  EXPECT_TRUE(WaitForCount(CallState::kReady, ids, 4));
  EXPECT_EQ(server_.CountOf("Download"), 1);
  EXPECT_EQ(server_.CountOf("ClaimOutputs"), 0);
}

TEST_F(OutputStreamTest, CancellationEndsTheStreamAndGivesBackWhatItHolds) {
  const std::vector<std::string> ids = NewReadyCalls(2);
  const std::vector<std::string> pending = NewCalls(1);
  const Cancellation cancellation;
  const OutputStream stream = client_.StreamOutputs({.cancellation = cancellation});
  stream.Subscribe(ids);
  stream.Subscribe(pending);
  ASSERT_TRUE(stream.Next().ok());
  ASSERT_TRUE(stream.Next().ok());
  std::thread canceller([&] {
    EXPECT_EQ(stream.PendingCount(), 1);
    cancellation.Cancel();
  });
  EXPECT_EQ(stream.Next().status().code(), absl::StatusCode::kCancelled);
  canceller.join();
  EXPECT_TRUE(WaitForCount(CallState::kReady, ids, 2));
  stream.Subscribe(ids);
  EXPECT_EQ(stream.Next().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(client_.StreamOutputs({.cancellation = cancellation}).Next().status().code(),
            absl::StatusCode::kCancelled);
}

TEST_F(OutputStreamTest, NothingWithinTheWaitIsDeadlineExceeded) {
  const OutputStream stream = client_.StreamOutputs();
  EXPECT_TRUE(absl::IsOutOfRange(stream.Next().status()));
  stream.Subscribe(NewCalls(1));
  EXPECT_EQ(stream.Next(absl::Milliseconds(30)).status(),
            absl::DeadlineExceededError("no output within 30ms"));
}

TEST_F(OutputStreamTest, ACallbackGetsTheEventsAndItsAcksTravelTogether) {
  const std::vector<std::string> ids = NewCalls(300);
  std::mutex mutex;
  std::vector<std::string> told;
  std::promise<void> all_told;
  OutputStream* self = nullptr;
  OutputStream stream = client_.StreamOutputs({}, [&](OutputEvent event) {
    ASSERT_TRUE(event.output.ok()) << event.output.status();
    self->Ack(event.output->claim);
    const std::lock_guard lock(mutex);
    told.push_back(event.call_id);
    if (told.size() == ids.size()) all_told.set_value();
  });
  self = &stream;
  for (const std::string& id : ids) server_.AddOutput(id, 1, "output of " + id);
  stream.Subscribe(ids);
  all_told.get_future().wait();
  EXPECT_TRUE(stream.Flush().ok());
  EXPECT_EQ(std::set<std::string>(told.begin(), told.end()).size(), ids.size());
  EXPECT_EQ(CountIn(CallState::kConsumed, ids), ids.size());
  int messages_with_acks = 0;
  for (const auto& request : server_.RequestsOf<v1::AckOutputsRequest>()) {
    messages_with_acks += request.items_size() > 0 ? 1 : 0;
  }
  EXPECT_LT(messages_with_acks, 150);
}

TEST_F(OutputStreamTest, IsNotDestroyedBeforeItsCallbackHasReturned) {
  std::promise<void> entered;
  std::atomic<bool> destroying = false;
  std::atomic<bool> returned = false;
  {
    const OutputStream stream = client_.StreamOutputs({}, [&](const OutputEvent&) {
      entered.set_value();
      while (!destroying) {
      }
      // Time for a destructor that does not wait.
      absl::SleepFor(absl::Milliseconds(50));
      returned = true;
    });
    stream.Subscribe(NewReadyCalls(1));
    entered.get_future().wait();
    destroying = true;
  }
  EXPECT_TRUE(returned);
}

TEST_F(OutputStreamTest, MayBeDestroyedInItsCallback) {
  std::unique_ptr<OutputStream> stream;
  std::atomic<int> events = 0;
  std::promise<void> subscribed;
  std::promise<void> destroyed;
  stream = std::make_unique<OutputStream>(client_.StreamOutputs({}, [&](const OutputEvent&) {
    ++events;
    subscribed.get_future().wait();
    stream = nullptr;
    destroyed.set_value();
  }));
  stream->Subscribe(NewReadyCalls(3));
  subscribed.set_value();
  destroyed.get_future().wait();
  // Its thread goes on, and the other two outputs do not come.
  EXPECT_TRUE(client_.PutInput({}).ok());
  EXPECT_EQ(events, 1);
}

TEST_F(OutputStreamTest, OutlivesTheClientThatItIsOf) {
  const std::vector<std::string> ids = NewReadyCalls(2);
  const OutputStream stream = NewClient().StreamOutputs();
  stream.Subscribe(ids);
  const auto outputs = TakeAll(stream);
  for (const auto& [id, output] : outputs) stream.Ack(output.claim);
  EXPECT_TRUE(stream.Flush().ok());
  EXPECT_EQ(CountIn(CallState::kConsumed, ids), 2);
}

}  // namespace
}  // namespace mayfly::client
