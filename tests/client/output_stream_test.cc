// Outputs as they arrive, each once, whatever becomes of the connection.
#include "mayfly/output_stream.h"

#include <map>
#include <set>

#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "client/output_stream_fixture.h"
#include "client/payload_ends.h"

namespace mayfly::client {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using When = Fault::When;

TEST_F(OutputStreamTest, TellsOfEveryCallOnceAndThenThatThereIsNoneToCome) {
  const std::vector<std::string> ids = NewCalls(1300);
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe(ids);
  stream.Subscribe({ids[0], ids[1]});
  EXPECT_EQ(stream.PendingCount(), ids.size());
  for (const std::string& id : ids) server_.AddOutput(id, 1, "output of " + id);
  const auto outputs = TakeAll(stream);
  EXPECT_THAT(outputs, SizeIs(ids.size()));
  EXPECT_EQ(stream.PendingCount(), 0);
  for (const auto& [id, output] : outputs) stream.Ack(output.claim);
  EXPECT_TRUE(stream.Flush().ok());
  EXPECT_EQ(CountIn(CallState::kConsumed, ids), ids.size());
  // Whatever was said, was said on the one session.
  EXPECT_EQ(server_.CountOf("Session"), 1);
  EXPECT_EQ(server_.CountOf("Subscription"), 1);
  EXPECT_EQ(server_.CountOf("ClaimOutputs"), 0);
  EXPECT_EQ(server_.CountOf("Ack"), static_cast<int>(ids.size()));
  for (const auto& request : server_.RequestsOf<v1::SubscriptionRequest>()) {
    EXPECT_LE(request.subscribe_call_ids_size(), 512);
  }
}

TEST_F(OutputStreamTest, ABrokenStreamSubscribesAgainWhatItHasNotToldOf) {
  server_.FailNext("Subscription", {.when = When::kBroken, .item = 2});
  const std::vector<std::string> ids = NewReadyCalls(10);
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe(ids);
  const auto outputs = TakeAll(stream);
  EXPECT_THAT(outputs, SizeIs(10));
  const auto openings = Openings();
  ASSERT_THAT(openings, SizeIs(2));
  EXPECT_EQ(openings[0].subscribe_call_ids_size(), 10);
  EXPECT_EQ(openings[1].subscribe_call_ids_size(), 7);
  // So that a server that waits for it keeps the claims.
  EXPECT_EQ(openings[0].open().claim_token(), openings[1].open().claim_token());
  // Three of the acks have to claim again.
  for (const auto& [id, output] : outputs) stream.Ack(output.claim);
  EXPECT_TRUE(stream.Flush().ok());
  EXPECT_EQ(CountIn(CallState::kConsumed, ids), 10);
  const auto claims = server_.RequestsOf<v1::ClaimOutputsRequest>();
  EXPECT_THAT(claims, SizeIs(3));
  for (const auto& claim : claims) {
    EXPECT_EQ(claim.claim_token(), openings[0].open().claim_token());
  }
}

TEST_F(OutputStreamTest, StreamsThatBreakAllTheTimeLoseNothing) {
  for (int i = 0; i < 30; ++i) {
    server_.FailNext("Subscription",
                     {.when = i % 3 == 0 ? When::kBefore : When::kBroken, .item = i % 4});
    if (i % 2 == 0)
      server_.FailNext("AckOutputs", {.when = i % 4 == 0 ? When::kBefore : When::kAfter});
  }
  const std::vector<std::string> ids = NewReadyCalls(200);
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe(ids);
  std::set<std::string> told;
  while (told.size() < ids.size()) {
    const absl::StatusOr<OutputEvent> event = stream.Next(absl::Seconds(20));
    ASSERT_TRUE(event.ok()) << event.status();
    ASSERT_TRUE(event->output.ok()) << event->output.status();
    EXPECT_TRUE(told.insert(event->call_id).second);
    stream.Ack(event->output->claim);
  }
  EXPECT_TRUE(stream.Flush().ok());
  EXPECT_EQ(CountIn(CallState::kConsumed, ids), ids.size());
  EXPECT_GT(server_.CountOf("Subscription"), 10);
}

TEST_F(OutputStreamTest, PausesGrowWhileTheServerDoesNotAnswer) {
  ClientOptions options = QuickOptions();
  options.retry = {.delay_min = absl::Milliseconds(20), .delay_max = absl::Milliseconds(80)};
  const Client client = NewClient(options);
  for (int i = 0; i < 5; ++i) server_.FailNext("Subscription", {});
  const std::vector<std::string> ids = NewReadyCalls(1);
  const OutputStream stream = client.StreamOutputs();
  const absl::Time start = absl::Now();
  stream.Subscribe(ids);
  EXPECT_THAT(TakeAll(stream), SizeIs(1));
  // Of 20, 40, 80, 80 and 80 ms at least half each.
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(150));
  EXPECT_EQ(server_.CountOf("Subscription"), 6);
}

TEST_F(OutputStreamTest, AnOutputThatIsSentTwiceIsToldOnceAndKept) {
  server_.FailNext("Subscription", {.when = When::kTwice});
  const std::vector<std::string> ids = NewReadyCalls(20);
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe(ids);
  const auto outputs = TakeAll(stream);
  EXPECT_THAT(outputs, SizeIs(20));
  EXPECT_EQ(CountIn(CallState::kClaimed, ids), 20);
  EXPECT_EQ(server_.CountOf("Release"), 0);
  for (const auto& [id, output] : outputs) stream.Ack(output.claim);
  EXPECT_TRUE(stream.Flush().ok());
  EXPECT_EQ(CountIn(CallState::kConsumed, ids), 20);
}

TEST_F(OutputStreamTest, NoMoreIsClaimedThanTheWindowHasItems) {
  const std::vector<std::string> ids = NewReadyCalls(10);
  const OutputStream stream = client_.StreamOutputs({.window_items = 3});
  stream.Subscribe(ids);
  ASSERT_TRUE(WaitForCount(CallState::kClaimed, ids, 3));
  // Half a window is worth a message.
  ASSERT_TRUE(stream.Next().ok());
  ASSERT_TRUE(stream.Next().ok());
  ASSERT_TRUE(WaitForCount(CallState::kClaimed, ids, 5));
  uint64_t credit = 0;
  for (const auto& request : server_.RequestsOf<v1::SubscriptionRequest>()) {
    credit += request.credit().item_count();
  }
  EXPECT_EQ(credit, 5);
  EXPECT_THAT(TakeAll(stream), SizeIs(8));
}

TEST_F(OutputStreamTest, NoMoreIsClaimedThanTheWindowHasBytes) {
  const std::vector<std::string> ids = NewReadyCalls(10);
  const uint64_t bytes = std::string("output of " + ids[0]).size();
  // While there is one byte left another output may come.
  const OutputStream stream = client_.StreamOutputs({.window_bytes = 2 * bytes + 1});
  stream.Subscribe(ids);
  ASSERT_TRUE(WaitForCount(CallState::kClaimed, ids, 3));
  uint64_t credit = 0;
  for (const auto& request : server_.RequestsOf<v1::SubscriptionRequest>()) {
    credit += request.credit().bytes();
  }
  EXPECT_EQ(credit, 2 * bytes + 1);
  EXPECT_THAT(TakeAll(stream), SizeIs(10));
}

// What waits to be taken is in the new stream's window too.
TEST_F(OutputStreamTest, AReconnectionDoesNotWidenTheWindow) {
  server_.FailNext("Subscription", {.when = When::kBroken, .item = 1});
  const std::vector<std::string> ids = NewReadyCalls(10);
  const OutputStream stream = client_.StreamOutputs({.window_items = 4});
  stream.Subscribe(ids);
  // Two were released by the stream that broke, and wait to be taken.
  ASSERT_TRUE(WaitForCount(CallState::kClaimed, ids, 2));
  ASSERT_TRUE(server_.WaitFor("Subscription", 2));
  ASSERT_TRUE(WaitForCount(CallState::kClaimed, ids, 2));
  EXPECT_EQ(Openings().back().credit().item_count(), 2);
  EXPECT_THAT(TakeAll(stream), SizeIs(10));
}

TEST_F(OutputStreamTest, ALargeOutputComesWholeAndALargerOneAsANotice) {
  const std::vector<std::string> ids = NewCalls(2);
  const std::string large = Pattern(2 * kMiB + 9);
  const std::string larger = Pattern(3 * kMiB);
  server_.AddOutput(ids[0], 1, large);
  server_.AddOutput(ids[1], 1, larger);
  const OutputStream stream = client_.StreamOutputs({.data_bytes_max = large.size()});
  stream.Subscribe(ids);
  std::map<std::string, ClaimedOutput> outputs;
  for (int i = 0; i < 2; ++i) {
    const absl::StatusOr<OutputEvent> event = stream.Next();
    ASSERT_TRUE(event.ok() && event->output.ok());
    outputs[event->call_id] = *event->output;
  }
  EXPECT_TRUE(outputs[ids[0]].payload.data == large);
  EXPECT_FALSE(outputs[ids[0]].data_omitted);
  EXPECT_EQ(outputs[ids[0]].claim.crc32c, Crc32c(AsBytes(large)));
  EXPECT_TRUE(outputs[ids[1]].data_omitted);
  EXPECT_EQ(outputs[ids[1]].size_bytes, larger.size());
  EXPECT_EQ(server_.CountOf("Download"), 1);

  TestSink sink;
  const absl::StatusOr<ClaimedOutput> brought = client_.DownloadOutput(outputs[ids[1]], &sink);
  ASSERT_TRUE(brought.ok()) << brought.status();
  EXPECT_TRUE(sink.data == larger);
  stream.Ack(outputs[ids[0]].claim);
  stream.Ack(brought->claim);
  EXPECT_TRUE(stream.Flush().ok());
  EXPECT_EQ(CountIn(CallState::kConsumed, ids), 2);
}

TEST_F(OutputStreamTest, LargeOutputsAreBroughtAWindowAtATime) {
  const std::vector<std::string> ids = NewCalls(5);
  for (const std::string& id : ids) server_.AddOutput(id, 1, Pattern(2 * kMiB));
  const OutputStream stream = client_.StreamOutputs({.window_bytes = 3 * kMiB});
  stream.Subscribe(ids);
  for (int taken = 1; taken <= 5; ++taken) {
    const absl::StatusOr<OutputEvent> event = stream.Next();
    ASSERT_TRUE(event.ok() && event->output.ok());
    EXPECT_TRUE(event->output->payload.data == Pattern(2 * kMiB));
    // The next one may be on its way, the one behind it not.
    ASSERT_TRUE(server_.WaitFor("Download", std::min(5, taken + 1)));
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(client_.DescribeCall(ids[0]).ok());
    EXPECT_LE(server_.CountOf("Download"), taken + 1);
  }
  EXPECT_EQ(server_.CountOf("Download"), 5);
}

TEST_F(OutputStreamTest, ALargeOutputThatAnotherClientGotIsWaitedForAgain) {
  ClientOptions options = QuickOptions();
  options.retry.delay_min = options.retry.delay_max = absl::Seconds(2);
  const Client client = NewClient(options);
  const std::string id = NewCalls(1)[0];
  server_.AddOutput(id, 1, Pattern(2 * kMiB));
  server_.FailNext("Download", {});
  const OutputStream stream = client.StreamOutputs();
  stream.Subscribe({id});
  ASSERT_TRUE(server_.WaitFor("Download", 1));
  server_.ClaimElsewhere(id, /*ack=*/false);
  ASSERT_TRUE(server_.WaitFor("ClaimOutputs", 1));  // in vain
  EXPECT_TRUE(absl::IsDeadlineExceeded(stream.Next(absl::Milliseconds(50)).status()));
  EXPECT_EQ(stream.PendingCount(), 1);
  server_.ForgetClaims();
  const absl::StatusOr<OutputEvent> event = stream.Next(absl::Seconds(60));
  ASSERT_TRUE(event.ok()) << event.status();
  ASSERT_TRUE(event->output.ok()) << event->output.status();
  EXPECT_TRUE(event->output->payload.data == Pattern(2 * kMiB));
}

TEST_F(OutputStreamTest, AnOutputThatArrivesDamagedIsDataLossAndGivenBack) {
  server_.FailNext("Subscription", {.when = When::kCorrupted});
  const std::vector<std::string> ids = NewReadyCalls(1);
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe(ids);
  const absl::StatusOr<OutputEvent> event = stream.Next();
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->call_id, ids[0]);
  EXPECT_EQ(event->output.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ReasonOf(event->output.status()), Reason::kChecksumMismatch);
  EXPECT_TRUE(server_.WaitFor("Release", 1));
  EXPECT_TRUE(WaitForCount(CallState::kReady, ids, 1));
  EXPECT_TRUE(absl::IsOutOfRange(stream.Next().status()));
}

TEST_F(OutputStreamTest, ALargeOutputThatArrivesDamagedIsToo) {
  server_.FailNext("Download", {.when = When::kCorrupted});
  const std::vector<std::string> ids = NewCalls(1);
  server_.AddOutput(ids[0], 1, Pattern(2 * kMiB));
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe(ids);
  const absl::StatusOr<OutputEvent> event = stream.Next();
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->output.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(WaitForCount(CallState::kReady, ids, 1));
}

TEST_F(OutputStreamTest, TellsOfCallsThatWillNeverHaveAnOutput) {
  const std::vector<std::string> ids = NewCalls(3);
  ASSERT_TRUE(client_.DeleteCall(ids[0]).ok());
  server_.ClaimElsewhere(ids[1], /*ack=*/true);
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe({ids[0], ids[1], "nobody", ids[2]});
  std::map<std::string, Reason> ended;
  for (int i = 0; i < 3; ++i) {
    const absl::StatusOr<OutputEvent> event = stream.Next();
    ASSERT_TRUE(event.ok()) << event.status();
    EXPECT_EQ(event->output.status().code(), absl::StatusCode::kNotFound);
    ended[event->call_id] = ReasonOf(event->output.status());
  }
  EXPECT_EQ(ended[ids[0]], Reason::kCallDeleted);
  EXPECT_EQ(ended[ids[1]], Reason::kOutputConsumed);
  EXPECT_EQ(ended["nobody"], Reason::kCallUnknown);
  EXPECT_EQ(stream.PendingCount(), 1);
}

TEST_F(OutputStreamTest, ARefusedStreamIsTheResultOfAllItsCalls) {
  server_.FailAlways("Subscription", {.status = RpcError(absl::StatusCode::kPermissionDenied,
                                                         Reason::kRoleRequired, "a worker")});
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe({"a", "b"});
  for (int i = 0; i < 2; ++i) {
    const absl::StatusOr<OutputEvent> event = stream.Next();
    ASSERT_TRUE(event.ok()) << event.status();
    EXPECT_EQ(ReasonOf(event->output.status()), Reason::kRoleRequired);
  }
  EXPECT_TRUE(absl::IsOutOfRange(stream.Next().status()));
  EXPECT_EQ(server_.CountOf("Subscription"), 1);
}

}  // namespace
}  // namespace mayfly::client
