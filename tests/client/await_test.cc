// Outputs that are awaited and held one by one; and what cancels them, and everything else.
#include <thread>

#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/client_fixture.h"
#include "client/payload_ends.h"

namespace mayfly::client {
namespace {

using ::testing::SizeIs;
using When = Fault::When;

constexpr absl::Duration kLong = absl::Seconds(60);

class AwaitTest : public ClientFixture {
 protected:
  std::string NewCall() { return client_.PutInput({})->call_id; }
};

TEST_F(AwaitTest, ManyWaitsShareOneStream) {
  std::vector<std::string> ids;
  std::vector<Client::Future<ClaimedOutput>> waits;
  for (int i = 0; i < 100; ++i) {
    ids.push_back(NewCall());
    waits.push_back(client_.AwaitOutputFuture(ids.back(), {.wait = kLong}));
  }
  for (const std::string& id : ids) server_.AddOutput(id, 1, "output of " + id);
  std::vector<Client::Future<absl::Time>> acks;
  for (int i = 0; i < 100; ++i) {
    const absl::StatusOr<ClaimedOutput> output = waits[i].get();
    ASSERT_TRUE(output.ok()) << output.status();
    EXPECT_EQ(output->payload.data, "output of " + ids[i]);
    acks.push_back(client_.AckOutputFuture(output->claim));
  }
  for (auto& ack : acks) EXPECT_TRUE(ack.get().ok());
  EXPECT_EQ(server_.CountOf("Session"), 1);
  EXPECT_EQ(server_.CountOf("Subscription"), 1);
  EXPECT_EQ(server_.CountOf("ClaimOutputs"), 0);
}

TEST_F(AwaitTest, EverySingleCallHasAFuture) {
  const std::string id = NewReadyCall("42");
  EXPECT_EQ(client_.DescribeCallFuture(id).get()->state, CallState::kReady);
  const absl::StatusOr<ClaimedOutput> output = client_.AwaitOutputFuture(id).get();
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(client_.RenewClaimFuture(output->claim, absl::Seconds(30)).get().ok());
  EXPECT_EQ(client_.ReleaseOutputFuture(output->claim).get(), absl::OkStatus());
  EXPECT_TRUE(client_.DeleteCallFuture(id).get().ok());
  EXPECT_EQ(client_.DescribeCallFuture(id).get()->state, CallState::kDeleted);
}

TEST_F(AwaitTest, ARetrievalWaitsOnTheStreamAndSurvivesItsBreaking) {
  server_.FailNext("Subscription", {.when = When::kBroken, .item = 0});
  server_.FailNext("Subscription", {});
  const std::string first = NewCall();
  const std::string second = NewCall();
  std::thread worker([&] {
    EXPECT_TRUE(server_.WaitFor("Subscription", 1));
    server_.AddOutput(first, 1, "42");
    EXPECT_TRUE(server_.WaitFor("Subscription", 3));
    server_.AddOutput(second, 1, "43");
  });
  auto other = client_.AwaitOutputFuture(second, {.wait = kLong});
  int delivered = 0;
  const absl::StatusOr<absl::Time> erased = client_.Retrieve(first,
                                                             [&](const ClaimedOutput& output) {
                                                               EXPECT_EQ(output.payload.data, "42");
                                                               ++delivered;
                                                               return absl::OkStatus();
                                                             },
                                                             {.wait = kLong});
  EXPECT_TRUE(erased.ok()) << erased.status();
  EXPECT_EQ(delivered, 1);
  EXPECT_EQ(client_.DescribeCall(first)->state, CallState::kConsumed);
  EXPECT_EQ(other.get()->payload.data, "43");
  worker.join();
}

TEST_F(AwaitTest, OfTwoThatWaitForACallOneGetsItAndTheOtherIsTold) {
  const std::string id = NewCall();
  auto first = client_.AwaitOutputFuture(id, {.wait = kLong});
  auto second = client_.AwaitOutputFuture(id, {.wait = kLong});
  server_.AddOutput(id, 1, "42");
  const absl::StatusOr<ClaimedOutput> output = first.get();
  ASSERT_TRUE(output.ok()) << output.status();
  ASSERT_TRUE(client_.AckOutput(output->claim).ok());
  EXPECT_EQ(ReasonOf(second.get().status()), Reason::kOutputConsumed);
}

TEST_F(AwaitTest, WhatOneReleasesTheNextGets) {
  const std::string id = NewCall();
  auto first = client_.AwaitOutputFuture(id, {.wait = kLong});
  auto second = client_.AwaitOutputFuture(id, {.wait = kLong});
  server_.AddOutput(id, 1, "42");
  ASSERT_TRUE(client_.ReleaseOutput(first.get()->claim).ok());
  EXPECT_EQ(second.get()->payload.data, "42");
}

TEST_F(AwaitTest, AWaitThatIsOverAsksBeforeItSaysThatThereIsNothing) {
  const std::string id = NewCall();
  EXPECT_EQ(ReasonOf(client_.AwaitOutput(id, {.wait = absl::Milliseconds(40)}).status()),
            Reason::kOutputPending);
  EXPECT_EQ(server_.CountOf("ClaimOutputs"), 1);
  // No stream, no waiting: still the server says what there is.
  server_.FailAlways("Subscription", {});
  server_.AddOutput(id, 1, "42");
  const absl::StatusOr<ClaimedOutput> output =
      client_.AwaitOutput(id, {.wait = absl::Milliseconds(40)});
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(output->payload.data, "42");
}

TEST_F(AwaitTest, ALargeOutputIsBroughtWhole) {
  const std::string data = Pattern(2 * kMiB + 1);
  const std::string waiting = NewCall();
  auto output = client_.AwaitOutputFuture(waiting, {.wait = kLong});
  server_.AddOutput(waiting, 1, data);
  const absl::StatusOr<ClaimedOutput> brought = output.get();
  ASSERT_TRUE(brought.ok()) << brought.status();
  EXPECT_TRUE(brought->payload.data == data);
  EXPECT_TRUE(client_.AckOutput(brought->claim).ok());

  const std::string ready = NewReadyCall(data);
  const absl::StatusOr<ClaimedOutput> at_once = client_.AwaitOutput(ready);
  ASSERT_TRUE(at_once.ok()) << at_once.status();
  EXPECT_TRUE(at_once->payload.data == data);
  EXPECT_TRUE(client_.AckOutput(at_once->claim).ok());
}

TEST_F(AwaitTest, WhatIsHeldIsRenewedUntilTheLastCopyOfTheClientIsGone) {
  constexpr absl::Duration kLease = absl::Milliseconds(60);
  const auto renewals_of = [this](const std::string& id) {
    int count = 0;
    for (const auto& request : server_.RequestsOf<v1::RenewClaimsRequest>()) {
      for (const v1::RenewItem& item : request.items()) count += item.call_id() == id ? 1 : 0;
    }
    return count;
  };
  const std::string id = NewReadyCall("42");
  {
    const Client client = NewClient();
    ASSERT_TRUE(client.AwaitOutput(id, {.lease = kLease}).ok());
    EXPECT_TRUE(server_.WaitFor("RenewClaims", 2));
  }
  const int renewals = renewals_of(id);
  // A client that goes on tells how many renewals there would have been since.
  const std::string other = NewReadyCall("43");
  ASSERT_TRUE(client_.AwaitOutput(other, {.lease = kLease}).ok());
  EXPECT_TRUE(server_.WaitFor("RenewClaims", server_.CountOf("RenewClaims") + 20));
  // The last one may have been on its way when the client went.
  EXPECT_LE(renewals_of(id), renewals + 1);
}

TEST_F(AwaitTest, AWaitThatIsCancelledClaimsNothing) {
  const std::string id = NewCall();
  const Cancellation cancellation;
  auto wait = client_.AwaitOutputFuture(id, {.wait = kLong, .cancellation = cancellation});
  ASSERT_TRUE(server_.WaitFor("SubscriptionMessage", 1));
  cancellation.Cancel();
  EXPECT_EQ(wait.get().status().code(), absl::StatusCode::kCancelled);
  server_.AddOutput(id, 1, "42");
  EXPECT_TRUE(WaitForState(id, CallState::kReady));
  // One that does not share the stream, as its lease is another.
  const std::string other = NewCall();
  const Cancellation second;
  auto poll = client_.AwaitOutputFuture(
      other, {.wait = kLong, .lease = absl::Seconds(5), .cancellation = second});
  ASSERT_TRUE(server_.WaitFor("ClaimOutputs", 1));
  second.Cancel();
  EXPECT_EQ(poll.get().status().code(), absl::StatusCode::kCancelled);
}

// Cancel and answer race: whichever wins, nothing is lost and nothing stays claimed. By the stream:
// what a cancelled poll may have claimed is the server's to release.
TEST_F(AwaitTest, ACancellationMayRaceWithTheOutput) {
  for (int round = 0; round < 50; ++round) {
    const std::string id = NewCall();
    const Cancellation cancellation;
    std::thread other([&] { cancellation.Cancel(); });
    auto wait = client_.AwaitOutputFuture(id, {.wait = kLong, .cancellation = cancellation});
    server_.AddOutput(id, 1, "42");
    const absl::StatusOr<ClaimedOutput> output = wait.get();
    other.join();
    if (output.ok()) {
      EXPECT_TRUE(client_.AckOutput(output->claim).ok());
      EXPECT_TRUE(WaitForState(id, CallState::kConsumed));
    } else {
      EXPECT_TRUE(absl::IsCancelled(output.status())) << output.status();
      EXPECT_TRUE(WaitForState(id, CallState::kReady)) << round;
    }
  }
}

TEST_F(AwaitTest, AnAckThatIsCancelledEndsAtOnce) {
  const std::string id = NewReadyCall("42");
  server_.FailAlways("AckOutputs", {.when = When::kSilence});
  const absl::StatusOr<ClaimedOutput> output = client_.AwaitOutput(id);
  ASSERT_TRUE(output.ok()) << output.status();
  const Cancellation cancellation;
  auto ack = client_.AckOutputFuture(output->claim, {.cancellation = cancellation});
  ASSERT_TRUE(server_.WaitFor("AckOutputs", 1));
  cancellation.Cancel();
  EXPECT_EQ(ack.get().status().code(), absl::StatusCode::kCancelled);
  // Cancelled before it was asked for.
  EXPECT_EQ(client_.AckOutput(output->claim, {.cancellation = cancellation}).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(client_.AckOutput(output->claim, {.timeout = absl::Milliseconds(40)}).status(),
            absl::DeadlineExceededError("no answer within 40ms"));
}

absl::Status FirstOf(const std::vector<absl::Status>& results) { return results[0]; }
template <typename T>
absl::Status FirstOf(const std::vector<absl::StatusOr<T>>& results) {
  return results[0].status();
}

// Every kind of call, under way and before it.
TEST_F(AwaitTest, WhateverIsAskedForCanBeCancelled) {
  const std::string id = NewCall();
  const std::string ready = NewReadyCall("42");
  const Claim claim = client_.ClaimOutputs({ready})->outputs[0].claim;
  const Input large{.payload = {.data = Pattern(2 * kMiB)}};
  struct Way {
    std::string rpc;
    std::function<absl::Status(const CallOptions&)> ask;
  };
  const std::vector<Way> ways = {
      {"PutInputs", [&](const CallOptions& o) { return client_.PutInput({}, o).status(); }},
      {"PutInputs", [&](const CallOptions& o) { return FirstOf(client_.PutInputs({{}}, o)); }},
      {"GetInputs", [&](const CallOptions& o) { return client_.GetInput(id, o).status(); }},
      {"GetInputs", [&](const CallOptions& o) { return FirstOf(client_.GetInputs({id}, o)); }},
      {"PutOutputs",
       [&](const CallOptions& o) { return client_.PutOutput({.call_id = id}, o).status(); }},
      {"PutOutputs",
       [&](const CallOptions& o) { return FirstOf(client_.PutOutputs({{.call_id = id}}, o)); }},
      {"AckOutputs", [&](const CallOptions& o) { return client_.AckOutput(claim, o).status(); }},
      {"AckOutputs", [&](const CallOptions& o) { return FirstOf(client_.AckOutputs({claim}, o)); }},
      {"ReleaseOutputs", [&](const CallOptions& o) { return client_.ReleaseOutput(claim, o); }},
      {"ReleaseOutputs",
       [&](const CallOptions& o) { return FirstOf(client_.ReleaseOutputs({claim}, o)); }},
      {"RenewClaims",
       [&](const CallOptions& o) {
         return client_.RenewClaim(claim, absl::Seconds(9), o).status();
       }},
      {"DescribeCalls", [&](const CallOptions& o) { return client_.DescribeCall(id, o).status(); }},
      {"DeleteCalls", [&](const CallOptions& o) { return client_.DeleteCall(id, o).status(); }},
      {"Upload", [&](const CallOptions& o) { return client_.PutInput(large, o).status(); }},
      {"Upload",
       [&](const CallOptions& o) { return client_.PutInputFuture(large, o).get().status(); }},
      {"ClaimOutputs",
       [&](const CallOptions& o) {
         return client_.ClaimOutputs({id}, {.wait = kLong, .cancellation = o.cancellation})
             .status();
       }},
  };
  for (const Way& way : ways) {
    SCOPED_TRACE(way.rpc);
    server_.FailNext(way.rpc, {.when = When::kSilence});
    const int before = server_.CountOf(way.rpc);
    const Cancellation cancellation;
    std::thread canceller([&] {
      EXPECT_TRUE(server_.WaitFor(way.rpc, before + 1));
      cancellation.Cancel();
    });
    EXPECT_EQ(way.ask({.cancellation = cancellation}).code(), absl::StatusCode::kCancelled);
    canceller.join();
    // Once more, with what is cancelled already.
    EXPECT_EQ(way.ask({.cancellation = cancellation}).code(), absl::StatusCode::kCancelled);
  }
}

TEST_F(AwaitTest, AClaimThatIsCancelledBetweenItsPollsIsReleased) {
  // The pause after a failure, in which nothing is under way.
  ClientOptions options = QuickOptions();
  options.retry.delay_min = options.retry.delay_max = kLong;
  const Client client = NewClient(options);
  server_.FailNext("ClaimOutputs", {});
  const Cancellation cancellation;
  std::promise<absl::Status> done;
  client.ClaimOutputsAsync(
      {NewCall()},
      [&](const absl::StatusOr<ClaimedOutputs>& claimed) { done.set_value(claimed.status()); },
      {.wait = kLong, .cancellation = cancellation});
  ASSERT_TRUE(server_.WaitFor("ClaimOutputs", 1));
  const absl::Time start = absl::Now();
  cancellation.Cancel();
  EXPECT_EQ(done.get_future().get().code(), absl::StatusCode::kCancelled);
  EXPECT_LT(absl::Now() - start, kLong / 2);
}

}  // namespace
}  // namespace mayfly::client
