// Outputs as they arrive, each once, whatever becomes of the connection.
#include "mayfly/output_stream.h"

#include <future>
#include <map>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "client/client_fixture.h"
#include "client/payload_ends.h"

namespace mayfly::client {
namespace {

using ::testing::Each;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using When = Fault::When;

class OutputStreamTest : public ClientFixture {
 protected:
  std::vector<std::string> NewCalls(int count) {
    std::vector<std::string> ids;
    for (const auto& put : client_.PutInputs(std::vector<Input>(count))) {
      ids.push_back(put->call_id);
    }
    return ids;
  }
  std::vector<std::string> NewReadyCalls(int count) {
    std::vector<std::string> ids = NewCalls(count);
    for (const std::string& id : ids) server_.AddOutput(id, 1, "output of " + id);
    return ids;
  }
  // Takes events until there is none to come; every call is told of once, with its own output.
  std::map<std::string, ClaimedOutput> TakeAll(const OutputStream& stream) {
    std::map<std::string, ClaimedOutput> outputs;
    while (true) {
      absl::StatusOr<OutputEvent> event = stream.Next(absl::Seconds(20));
      if (absl::IsOutOfRange(event.status())) return outputs;
      EXPECT_TRUE(event.ok()) << event.status();
      if (!event.ok()) return outputs;
      EXPECT_TRUE(event->output.ok()) << event->output.status();
      if (!event->output.ok()) continue;
      EXPECT_EQ(event->output->claim.call_id, event->call_id);
      EXPECT_EQ(event->output->payload.data, "output of " + event->call_id);
      EXPECT_TRUE(outputs.emplace(event->call_id, *event->output).second) << "told twice";
    }
  }
  size_t CountIn(CallState state, const std::vector<std::string>& ids) {
    size_t count = 0;
    for (const auto& call : client_.DescribeCalls(ids)) count += call->state == state ? 1 : 0;
    return count;
  }
  bool WaitForCount(CallState state, const std::vector<std::string>& ids, size_t count) {
    const absl::Time until = absl::Now() + absl::Seconds(20);
    while (CountIn(state, ids) != count) {
      if (absl::Now() > until) return false;
    }
    return true;
  }
  // The first messages of the streams so far.
  std::vector<v1::StreamOutputsRequest> Openings() {
    std::vector<v1::StreamOutputsRequest> openings;
    for (const auto& request : server_.RequestsOf<v1::StreamOutputsRequest>()) {
      if (request.has_open()) openings.push_back(request);
    }
    return openings;
  }
};

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
  // Whatever was said, was said on the one stream.
  EXPECT_EQ(server_.CountOf("StreamOutputs"), 1);
  EXPECT_EQ(server_.CountOf("AckOutputs"), 0);
  EXPECT_EQ(server_.CountOf("ClaimOutputs"), 0);
  EXPECT_EQ(server_.CountOf("Ack"), static_cast<int>(ids.size()));
  for (const auto& request : server_.RequestsOf<v1::StreamOutputsRequest>()) {
    EXPECT_LE(request.subscribe_call_ids_size(), 512);
    EXPECT_LE(request.acks_size(), 512);
  }
}

TEST_F(OutputStreamTest, ABrokenStreamSubscribesAgainWhatItHasNotToldOf) {
  server_.FailNext("StreamOutputs", {.when = When::kBroken, .item = 2});
  const std::vector<std::string> ids = NewReadyCalls(10);
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe(ids);
  const auto outputs = TakeAll(stream);
  EXPECT_THAT(outputs, SizeIs(10));
  const auto openings = Openings();
  ASSERT_THAT(openings, SizeIs(2));
  EXPECT_EQ(openings[0].subscribe_call_ids_size(), 10);
  EXPECT_EQ(openings[1].subscribe_call_ids_size(), 7);
  EXPECT_NE(openings[0].open().claim_token(), openings[1].open().claim_token());
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
    server_.FailNext("StreamOutputs",
                     {.when = i % 3 == 0 ? When::kBefore : When::kBroken, .item = i % 4});
    if (i % 2 == 0)
      server_.FailNext("StreamAcks", {.when = i % 4 == 0 ? When::kBefore : When::kAfter});
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
  EXPECT_GT(server_.CountOf("StreamOutputs"), 10);
}

TEST_F(OutputStreamTest, PausesGrowWhileTheServerDoesNotAnswer) {
  ClientOptions options = QuickOptions();
  options.retry = {.delay_min = absl::Milliseconds(20), .delay_max = absl::Milliseconds(80)};
  const Client client = NewClient(options);
  for (int i = 0; i < 5; ++i) server_.FailNext("StreamOutputs", {});
  const std::vector<std::string> ids = NewReadyCalls(1);
  const OutputStream stream = client.StreamOutputs();
  const absl::Time start = absl::Now();
  stream.Subscribe(ids);
  EXPECT_THAT(TakeAll(stream), SizeIs(1));
  // Of 20, 40, 80, 80 and 80 ms at least half each.
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(150));
  EXPECT_EQ(server_.CountOf("StreamOutputs"), 6);
}

TEST_F(OutputStreamTest, AnOutputThatIsSentTwiceIsToldOnceAndKept) {
  server_.FailNext("StreamOutputs", {.when = When::kTwice});
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
  for (const auto& request : server_.RequestsOf<v1::StreamOutputsRequest>()) {
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
  for (const auto& request : server_.RequestsOf<v1::StreamOutputsRequest>()) {
    credit += request.credit().bytes();
  }
  EXPECT_EQ(credit, 2 * bytes + 1);
  EXPECT_THAT(TakeAll(stream), SizeIs(10));
}

// What waits to be taken is in the new stream's window too.
TEST_F(OutputStreamTest, AReconnectionDoesNotWidenTheWindow) {
  server_.FailNext("StreamOutputs", {.when = When::kBroken, .item = 1});
  const std::vector<std::string> ids = NewReadyCalls(10);
  const OutputStream stream = client_.StreamOutputs({.window_items = 4});
  stream.Subscribe(ids);
  // Two were released by the stream that broke, and wait to be taken.
  ASSERT_TRUE(WaitForCount(CallState::kClaimed, ids, 2));
  ASSERT_TRUE(server_.WaitFor("StreamOutputs", 2));
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
  server_.FailNext("StreamOutputs", {.when = When::kCorrupted});
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
  server_.FailAlways("StreamOutputs", {.status = RpcError(absl::StatusCode::kPermissionDenied,
                                                          Reason::kRoleRequired, "a worker")});
  const OutputStream stream = client_.StreamOutputs();
  stream.Subscribe({"a", "b"});
  for (int i = 0; i < 2; ++i) {
    const absl::StatusOr<OutputEvent> event = stream.Next();
    ASSERT_TRUE(event.ok()) << event.status();
    EXPECT_EQ(ReasonOf(event->output.status()), Reason::kRoleRequired);
  }
  EXPECT_TRUE(absl::IsOutOfRange(stream.Next().status()));
  EXPECT_EQ(server_.CountOf("StreamOutputs"), 1);
}

TEST_F(OutputStreamTest, AnAckWhoseAnswerWasLostIsRepeated) {
  for (const When when : {When::kBefore, When::kAfter}) {
    server_.FailNext("StreamAcks", {.when = when});
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
  server_.FailNext("StreamOutputs", {.when = When::kBroken, .item = 0});
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
  for (const auto& request : server_.RequestsOf<v1::StreamOutputsRequest>()) {
    messages_with_acks += request.acks_size() > 0 ? 1 : 0;
  }
  EXPECT_LT(messages_with_acks, 150);
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
