// Subscriptions: clients that do not read, half-closes, drains, claims that pass to the next
// subscription, and what holds claims back.

#include "rpc/session_subscription.h"

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "e2e/subscription_call.h"
#include "rpc/served_store.h"
#include "rpc/session_stream.h"
#include "store/subscriptions.h"

namespace mayfly {
namespace {

class SessionSubscriptionTest : public ::testing::Test {
 protected:
  void Start() { served_.Start(); }

  std::unique_ptr<SubscriptionCall> Open(const std::vector<CallId>& ids, uint32_t items = 1'000'000,
                                         uint64_t bytes = uint64_t{1} << 40) {
    auto call = std::make_unique<SubscriptionCall>(served_.client.get());
    v1::SubscriptionRequest request = SubscriptionCall::Opening(items, bytes);
    for (const CallId& id : ids) request.add_subscribe_call_ids(id.ToString());
    EXPECT_TRUE(call->Write(request));
    return call;
  }
  CallPhase Phase(const CallId& id) { return served_.harness.Phase(id, served_.tenant()); }
  bool ClaimsBecome(int64_t count) {
    const absl::Time give_up = absl::Now() + kPatience;
    while (served_.tenant()->ledger.claims() != count && absl::Now() < give_up) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    return served_.tenant()->ledger.claims() == count;
  }
  bool SessionEnds() {
    const absl::Time give_up = absl::Now() + kPatience;
    while (!served_.HasEnded("Session") && absl::Now() < give_up) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    return served_.HasEnded("Session");
  }
  // After the end of sessions nobody has come for so long.
  void PassSuccessorWait() {
    served_.harness.clock.Advance(absl::Milliseconds(Subscriptions::kSuccessorWaitMs));
    served_.harness.Settle();
  }
  // Waits until there are `least`, and then until there have been no more for a while.
  bool ClaimsStand(int64_t least) {
    const absl::Time give_up = absl::Now() + kPatience;
    int64_t before = 0;
    while (before != served_.tenant()->ledger.claims() || before < least) {
      if (absl::Now() > give_up) return false;
      before = served_.tenant()->ledger.claims();
      absl::SleepFor(absl::Milliseconds(300));
    }
    return true;
  }

  ServedStore served_;
};

TEST_F(SessionSubscriptionTest, AcksAreAnsweredAfterAHalfClose) {
  Start();
  const CallId first = served_.NewOutput();
  const CallId second = served_.NewOutput();
  auto call = Open({first, second});
  v1::AckOutputsRequest acks;
  *acks.add_items() = call->AckOf(call->NextOutput());
  *acks.add_items() = call->AckOf(call->NextOutput());
  acks.add_items()->set_call_id("no id");
  ASSERT_TRUE(call->Write(acks));
  call->HalfClose();
  EXPECT_EQ(call->NextAckResult(), "OK");
  EXPECT_EQ(call->NextAckResult(), "OK");
  EXPECT_EQ(call->NextAckResult(), "INVALID_ARGUMENT FIELD_INVALID");
  EXPECT_EQ(call->FinishAfterRest(), "OK");
  EXPECT_EQ(Phase(first), CallPhase::kConsumed);
  EXPECT_EQ(Phase(second), CallPhase::kConsumed);
}

TEST_F(SessionSubscriptionTest, AHalfCloseIsTheEndOfSubscriptionsThatHaveNotEnded) {
  Start();
  const CallId acked = served_.NewOutput();
  const CallId held = served_.NewOutput();
  auto call = Open({acked, held});
  ASSERT_TRUE(call->Ack(call->NextOutput()));
  call->NextOutput();
  call->HalfClose();
  EXPECT_EQ(call->FinishAfterRest(), "OK");
  EXPECT_EQ(served_.tenant()->ledger.claims(), 1);
  PassSuccessorWait();
  EXPECT_EQ(served_.tenant()->ledger.claims(), 0);
  EXPECT_EQ(Phase(acked), CallPhase::kConsumed);
  EXPECT_EQ(Phase(held), CallPhase::kReady);
}

TEST_F(SessionSubscriptionTest, ABrokenSessionReleasesItsClaims) {
  Start();
  std::vector<CallId> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(served_.NewOutput());
  auto call = Open(ids);
  for (int i = 0; i < 5; ++i) call->NextOutput();
  EXPECT_EQ(served_.tenant()->ledger.claims(), 5);
  call->Break();
  ASSERT_TRUE(SessionEnds());
  // The client may come back.
  served_.harness.clock.Advance(absl::Milliseconds(Subscriptions::kSuccessorWaitMs - 1));
  served_.harness.Settle();
  EXPECT_EQ(served_.tenant()->ledger.claims(), 5);
  served_.harness.clock.Advance(absl::Seconds(1));
  served_.harness.Settle();
  EXPECT_TRUE(ClaimsBecome(0));
}

TEST_F(SessionSubscriptionTest, TheNextSubscriptionWithTheTokenHasTheClaimsOfABrokenSession) {
  Start();
  const CallId held = served_.NewOutput();
  const CallId lost = served_.NewOutput();
  v1::SubscriptionRequest opening = SubscriptionCall::Opening();
  opening.add_subscribe_call_ids(held.ToString());
  opening.add_subscribe_call_ids(lost.ToString());
  auto call = std::make_unique<SubscriptionCall>(served_.client.get());
  ASSERT_TRUE(call->Write(opening));
  const v1::ClaimedOutput first = call->NextOutput();
  const v1::ClaimedOutput second = call->NextOutput();
  call->Break();
  ASSERT_TRUE(SessionEnds());

  // As a client does that has received the first, and not the second.
  opening.clear_subscribe_call_ids();
  opening.add_subscribe_call_ids(second.call_id());
  SubscriptionCall next(served_.client.get());
  ASSERT_TRUE(next.Write(opening));
  const v1::ClaimedOutput again = next.NextOutput();
  EXPECT_EQ(again.call_id(), second.call_id());
  EXPECT_EQ(again.fence(), second.fence());
  PassSuccessorWait();
  EXPECT_EQ(served_.tenant()->ledger.claims(), 2);
  ASSERT_TRUE(next.Ack(first));
  EXPECT_EQ(next.NextAckResult(), "OK");
  EXPECT_EQ(served_.tenant()->ledger.claims(), 1);
  // The claims are the successor's, and end with it.
  ASSERT_TRUE(next.End(/*keeps_claims=*/false));
  EXPECT_EQ(next.NextEnd().code(), 0);
  EXPECT_EQ(served_.tenant()->ledger.claims(), 0);
}

TEST_F(SessionSubscriptionTest, AnEndThatKeepsClaimsDeliversWhatIsClaimed) {
  Start();
  std::vector<CallId> ids;
  for (int i = 0; i < 20; ++i) ids.push_back(served_.NewOutput(std::string(100'000, 'x')));
  auto call = Open(ids);
  EXPECT_TRUE(ClaimsStand(/*least=*/20));
  ASSERT_TRUE(call->End(/*keeps_claims=*/true));
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(call->NextOutput().has_payload());
  EXPECT_EQ(call->NextEnd().code(), 0);
  EXPECT_EQ(served_.tenant()->ledger.claims(), 20);
  // Nothing is pushed any more, but the session goes on.
  EXPECT_TRUE(call->End(/*keeps_claims=*/false));
  EXPECT_EQ(Summary(call->NextEnd()), "INVALID_ARGUMENT FIELD_INVALID");
  call->HalfClose();
  EXPECT_EQ(call->FinishAfterRest(), "OK");
  EXPECT_EQ(served_.tenant()->ledger.claims(), 20);
}

TEST_F(SessionSubscriptionTest, WhoDoesNotReadIsSentNoMoreThanThereIsRoomFor) {
  Start();
  constexpr int kOutputs = 24;
  std::vector<CallId> ids;
  for (int i = 0; i < kOutputs; ++i) ids.push_back(served_.NewOutput(std::string(1 << 20, 'x')));
  auto call = Open(ids);
  // 4 MiB unsent, a message of 3 MiB under way, and what gRPC buffers on both sides.
  EXPECT_TRUE(ClaimsStand(/*least=*/4));
  EXPECT_LT(served_.tenant()->ledger.claims(), kOutputs);
  std::set<std::string> got;
  for (int i = 0; i < kOutputs; ++i) got.insert(call->NextOutput().call_id());
  EXPECT_EQ(got.size(), static_cast<size_t>(kOutputs));
}

TEST_F(SessionSubscriptionTest, ADrainWaitsForTheAcksOfWhatItHasSent) {
  Start();
  const CallId id = served_.NewOutput();
  const CallId pending = served_.NewInput();
  auto call = Open({id, pending});
  const v1::ClaimedOutput output = call->NextOutput();
  served_.server->Drain();
  ASSERT_TRUE(call->Ack(output));
  EXPECT_EQ(call->NextAckResult(), "OK");
  EXPECT_EQ(Summary(call->NextEnd()), "UNAVAILABLE DRAINING");
  EXPECT_EQ(call->FinishAfterRest(), "UNAVAILABLE DRAINING");
  EXPECT_EQ(Phase(id), CallPhase::kConsumed);
}

TEST_F(SessionSubscriptionTest, ADrainEndsAStreamThatHasNotBeenOpened) {
  Start();
  SubscriptionCall call(served_.client.get());
  // So that the server has it.
  auto other = Open({});
  served_.server->Drain();
  EXPECT_EQ(call.FinishAfterRest(), "UNAVAILABLE DRAINING");
  EXPECT_EQ(other->FinishAfterRest(), "UNAVAILABLE DRAINING");
}

TEST_F(SessionSubscriptionTest, ADrainEndsAStreamWhoseClientDoesNotRead) {
  Start();
  std::vector<CallId> ids;
  for (int i = 0; i < 16; ++i) ids.push_back(served_.NewOutput(std::string(1 << 20, 'x')));
  auto call = Open(ids);
  EXPECT_TRUE(ClaimsStand(/*least=*/1));
  served_.server->Drain();
  served_.harness.store()->Drain();
  EXPECT_TRUE(SessionEnds());
}

TEST_F(SessionSubscriptionTest, WhatTheClientGetsWrongEndsTheSubscriptionOnly) {
  served_.harness.config.limits.stream_subscriptions_max = 3;
  Start();
  SubscriptionCall call(served_.client.get());
  v1::SubscriptionRequest request;
  request.mutable_credit()->set_item_count(1);
  ASSERT_TRUE(call.Write(request));
  EXPECT_EQ(Summary(call.NextEnd()), "INVALID_ARGUMENT FIELD_INVALID");

  ASSERT_TRUE(call.Write(SubscriptionCall::Opening()));
  ASSERT_TRUE(call.Write(SubscriptionCall::Opening()));
  EXPECT_EQ(Summary(call.NextEnd()), "INVALID_ARGUMENT FIELD_INVALID");

  request = SubscriptionCall::Opening();
  for (int i = 0; i < 4; ++i) request.add_subscribe_call_ids(served_.NewInput().ToString());
  ASSERT_TRUE(call.Write(request));
  EXPECT_EQ(Summary(call.NextEnd()), "INVALID_ARGUMENT FIELD_INVALID");

  // A fourth time, on the same session.
  const CallId id = served_.NewOutput();
  request = SubscriptionCall::Opening();
  request.add_subscribe_call_ids(id.ToString());
  ASSERT_TRUE(call.Write(request));
  EXPECT_EQ(call.NextOutput().call_id(), id.ToString());
}

TEST_F(SessionSubscriptionTest, OneTooManyIsRefusedAndTheOthersGoOn) {
  Start();
  grpc::ClientContext context;
  const auto stream = served_.client->stub()->Session(&context);
  constexpr uint64_t kMax = SessionStream::kSubscriptionsMax;
  for (uint64_t number = 1; number <= kMax + 1; ++number) {
    v1::SessionRequest message;
    *message.add_subscriptions() = SubscriptionCall::Opening();
    message.mutable_subscriptions(0)->set_number(number);
    ASSERT_TRUE(stream->Write(message));
  }
  v1::SessionResponse response;
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_EQ(response.subscriptions_size(), 1);
  EXPECT_EQ(response.subscriptions(0).number(), kMax + 1);
  EXPECT_EQ(Summary(response.subscriptions(0).end()), "INVALID_ARGUMENT FIELD_INVALID");
  // The place of one that has ended is free.
  v1::SessionRequest message;
  message.add_subscriptions()->set_number(1);
  message.mutable_subscriptions(0)->mutable_end();
  ASSERT_TRUE(stream->Write(message));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.subscriptions(0).end().code(), 0);
  const CallId id = served_.NewOutput();
  *message.mutable_subscriptions(0) = SubscriptionCall::Opening();
  message.mutable_subscriptions(0)->set_number(kMax + 2);
  message.mutable_subscriptions(0)->add_subscribe_call_ids(id.ToString());
  ASSERT_TRUE(stream->Write(message));
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_EQ(response.subscriptions(0).outputs_size(), 1);
  EXPECT_EQ(response.subscriptions(0).outputs(0).call_id(), id.ToString());
  context.TryCancel();
  stream->Finish();
}

TEST_F(SessionSubscriptionTest, AnswersDoNotWaitBehindOutputsThatAreNotRead) {
  Start();
  std::vector<CallId> ids;
  for (int i = 0; i < 12; ++i) ids.push_back(served_.NewOutput(std::string(1 << 20, 'x')));
  auto call = Open(ids, /*items=*/1);
  const v1::ClaimedOutput output = call->NextOutput();
  ASSERT_TRUE(call->Ack(output));
  EXPECT_EQ(call->NextAckResult(), "OK");
}

TEST_F(SessionSubscriptionTest, WhoSendsMalformedIdsAndDoesNotReadIsNotReadEither) {
  Start();
  auto call = Open({});
  constexpr int kMessages = 400;
  constexpr int kIds = 512;
  v1::SubscriptionRequest request;
  for (int i = 0; i < kIds; ++i) request.add_subscribe_call_ids(std::string(100, 'x'));
  std::atomic<int> written{0};
  std::thread writer([&] {
    for (int i = 0; i < kMessages && call->Write(request); ++i) ++written;
    call->HalfClose();
  });
  // Until both directions are full.
  const absl::Time give_up = absl::Now() + kPatience;
  int before = -1;
  while (written != before && absl::Now() < give_up) {
    before = written;
    absl::SleepFor(absl::Milliseconds(300));
  }
  EXPECT_LT(written, kMessages);
  // None of the answers is lost.
  int64_t ended = 0;
  v1::SessionResponse response;
  while (call->Read(&response)) {
    for (const v1::SubscriptionResponse& part : response.subscriptions()) {
      ended += part.ended_size();
    }
  }
  writer.join();
  EXPECT_EQ(call->Finish(), "OK");
  EXPECT_EQ(ended, int64_t{kMessages} * kIds);
}

}  // namespace
}  // namespace mayfly
