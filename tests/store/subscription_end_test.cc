// The ends of subscriptions and their effect on others: releases, lapses, races for one call, ends
// in the middle of a commit, draining and a failing disk.

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "storage/storage_error.h"
#include "store/gate.h"
#include "store/subscriber.h"
#include "store/subscriptions.h"

namespace mayfly {
namespace {

class SubscriptionEndTest : public ::testing::Test {
 protected:
  void Open() { harness_.Open(); }

  CallId NewInput() {
    const CallId id = harness_.NewId();
    EXPECT_EQ(harness_.PutInput(id, "in").status, absl::OkStatus());
    return id;
  }
  CallId NewOutput() {
    const CallId id = NewInput();
    EXPECT_EQ(harness_.PutOutput(id, "out").status, absl::OkStatus());
    return id;
  }
  std::unique_ptr<Subscriber> Subscribe(uint64_t token, const std::vector<CallId>& ids) {
    auto subscriber = std::make_unique<Subscriber>(&harness_, Subscriber::Options{.token = token});
    subscriber->GrantMuch();
    EXPECT_TRUE((*subscriber)->Add(ids));
    return subscriber;
  }
  absl::Status Ack(const Subscriber& subscriber, const ClaimedOutput& output) {
    return harness_.Ack(output.call_id, subscriber.token(), output.fence).status;
  }
  void BeginAck(const Subscriber& subscriber, const ClaimedOutput& output,
                Awaited<std::vector<EndResult>>* acked) {
    harness_.store()->AckOutputs(harness_.tenant(),
                                 {ClaimRef{.call_id = output.call_id,
                                           .token = MakeToken(subscriber.token()),
                                           .fence = output.fence,
                                           .crc32c = std::nullopt}},
                                 acked->callback());
  }
  void BeginPut(const CallId& id, Awaited<std::vector<PutResult>>* put) {
    harness_.store()->Put(harness_.tenant(),
                          {NewPut{.call_id = id,
                                  .kind = PayloadKind::kOutput,
                                  .attempt = 1,
                                  .payload = MakePayload("out"),
                                  .ttl_ms = 3'600'000}},
                          put->callback());
  }

  StoreHarness harness_;
};

TEST_F(SubscriptionEndTest, ReleasesWhatIsNotAckedAtOnceAndNothingElse) {
  Open();
  std::vector<CallId> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(NewOutput());
  auto first = Subscribe(1, ids);
  std::vector<ClaimedOutput> held;
  for (int i = 0; i < 5; ++i) held.push_back(first->NextOutput().value());
  auto second = Subscribe(2, ids);
  harness_.Settle();
  EXPECT_TRUE(second->TakeOutputs().empty());
  ASSERT_EQ(Ack(*first, held[1]), absl::OkStatus());
  ASSERT_EQ(Ack(*first, held[3]), absl::OkStatus());
  EXPECT_EQ(second->NextEnded().value().call_id, ids[1]);
  EXPECT_EQ(second->NextEnded().value().call_id, ids[3]);

  ASSERT_TRUE(first->End());
  std::vector<ClaimedOutput> got;
  for (int i = 0; i < 3; ++i) got.push_back(second->NextOutput().value());
  for (const ClaimedOutput& output : got) {
    EXPECT_NE(output.call_id, ids[1]);
    EXPECT_NE(output.call_id, ids[3]);
    EXPECT_EQ(Ack(*second, output), absl::OkStatus());
  }
  for (const CallId& id : ids) EXPECT_EQ(harness_.Phase(id), CallPhase::kConsumed);
  EXPECT_TRUE(second->End());
  EXPECT_EQ(harness_.tenant()->ledger.claims(), 0);
}

TEST_F(SubscriptionEndTest, OfTwoThatWaitForACallOneWinsAndTheOtherIsToldWhenItReleases) {
  Open();
  const CallId id = NewInput();
  auto first = Subscribe(1, {id});
  auto second = Subscribe(2, {id});
  ASSERT_EQ(harness_.PutOutput(id, "out").status, absl::OkStatus());
  const ClaimedOutput won = first->NextOutput().value();
  harness_.Settle();
  EXPECT_TRUE(second->TakeOutputs().empty());
  ASSERT_EQ(harness_.Release(id, 1, won.fence), absl::OkStatus());
  const ClaimedOutput got = second->NextOutput().value();
  EXPECT_GT(got.fence, won.fence);
  // It was told once, and is over for the first, which waits no more.
  EXPECT_EQ(ReasonOf(Ack(*first, won)), Reason::kClaimLost);
  ASSERT_EQ(Ack(*second, got), absl::OkStatus());
  harness_.Settle();
  EXPECT_TRUE(first->TakeOutputs().empty());
  EXPECT_TRUE(first->TakeEnded().empty());
}

TEST_F(SubscriptionEndTest, OfTwoThatWaitForACallTheOtherLearnsOfTheAck) {
  Open();
  const CallId id = NewInput();
  auto first = Subscribe(1, {id});
  auto second = Subscribe(2, {id});
  ASSERT_EQ(harness_.PutOutput(id, "out").status, absl::OkStatus());
  ASSERT_EQ(Ack(*first, first->NextOutput().value()), absl::OkStatus());
  EXPECT_EQ(ReasonOf(second->NextEnded().value().status), Reason::kOutputConsumed);
}

TEST_F(SubscriptionEndTest, WhatIsClaimedByAPollComesWhenThatReleases) {
  Open();
  const CallId id = NewOutput();
  const uint64_t fence = harness_.Claim(id, 9).outputs.at(0).fence;
  auto subscriber = Subscribe(1, {id});
  harness_.Settle();
  EXPECT_TRUE(subscriber->TakeOutputs().empty());
  ASSERT_EQ(harness_.Release(id, 9, fence), absl::OkStatus());
  EXPECT_EQ(subscriber->NextOutput().value().call_id, id);
}

TEST_F(SubscriptionEndTest, ALapsedClaimGoesToWhoWaitsAndIsLostToWhoHadIt) {
  Open();
  const CallId id = NewOutput();
  auto first = Subscribe(1, {id});
  const ClaimedOutput lapsing = first->NextOutput().value();
  auto second = Subscribe(2, {id});
  harness_.clock.Advance(absl::Seconds(29));
  harness_.Settle();
  EXPECT_TRUE(second->TakeOutputs().empty());
  harness_.clock.Advance(absl::Milliseconds(1200));
  const ClaimedOutput got = second->NextOutput().value();
  EXPECT_GT(got.fence, lapsing.fence);
  EXPECT_EQ(got.payload->data, "out");
  EXPECT_EQ(ReasonOf(Ack(*first, lapsing)), Reason::kClaimLost);
  // The end of who had it takes nothing from who has it.
  ASSERT_TRUE(first->End());
  EXPECT_EQ(harness_.Phase(id), CallPhase::kClaimed);
  EXPECT_EQ(Ack(*second, got), absl::OkStatus());
}

TEST_F(SubscriptionEndTest, AnAckInTheMiddleOfItsCommitCounts) {
  Open();
  const CallId acked = NewOutput();
  const CallId held = NewOutput();
  auto first = Subscribe(1, {acked, held});
  const ClaimedOutput output = first->NextOutput().value();
  ASSERT_EQ(output.call_id, acked);
  ASSERT_TRUE(first->NextOutput().has_value());
  auto second = Subscribe(2, {acked, held});
  harness_.Settle();

  Gate commit;
  harness_.hooks.commit = commit.hook();
  Awaited<std::vector<EndResult>> result;
  BeginAck(*first, output, &result);
  commit.WaitUntilReached();
  first->BeginEnd();
  EXPECT_FALSE(result.is_answered());
  commit.Open();
  EXPECT_EQ(result.Get()[0].status, absl::OkStatus());
  ASSERT_TRUE(first->FinishEnd());
  EXPECT_EQ(ReasonOf(second->NextEnded().value().status), Reason::kOutputConsumed);
  EXPECT_EQ(second->NextOutput().value().call_id, held);
}

TEST_F(SubscriptionEndTest, AnAckInTheMiddleOfItsSyncCounts) {
  Open();
  const CallId id = NewOutput();
  auto first = Subscribe(1, {id});
  const ClaimedOutput output = first->NextOutput().value();
  auto second = Subscribe(2, {id});
  harness_.Settle();
  Gate sync;
  harness_.hooks.sync = sync.hook();
  Awaited<std::vector<EndResult>> result;
  BeginAck(*first, output, &result);
  sync.WaitUntilReached();
  first->BeginEnd();
  sync.Open();
  EXPECT_EQ(result.Get()[0].status, absl::OkStatus());
  ASSERT_TRUE(first->FinishEnd());
  EXPECT_EQ(ReasonOf(second->NextEnded().value().status), Reason::kOutputConsumed);
  EXPECT_TRUE(second->TakeOutputs().empty());
}

TEST_F(SubscriptionEndTest, AnOutputInTheMiddleOfItsCommitIsNotClaimedForOneThatHasEnded) {
  Open();
  const CallId id = NewInput();
  auto first = Subscribe(1, {id});
  auto second = Subscribe(2, {id});
  harness_.Settle();
  Gate commit;
  harness_.hooks.commit = commit.hook();
  Awaited<std::vector<PutResult>> put;
  BeginPut(id, &put);
  commit.WaitUntilReached();
  first->BeginEnd();
  commit.Open();
  ASSERT_EQ(put.Get()[0].status, absl::OkStatus());
  EXPECT_EQ(second->NextOutput().value().call_id, id);
  ASSERT_TRUE(first->FinishEnd());
  EXPECT_TRUE(first->TakeOutputs().empty());
}

TEST_F(SubscriptionEndTest, NothingIsToldBeforeItIsOnTheDisk) {
  Open();
  const CallId id = NewInput();
  const CallId other = NewInput();
  auto subscriber = Subscribe(1, {id});
  harness_.Settle();
  Gate sync;
  harness_.hooks.sync = sync.hook();
  Awaited<std::vector<PutResult>> put;
  BeginPut(id, &put);
  sync.WaitUntilReached();
  // Nor to who asks beside the sync.
  auto second = Subscribe(2, {id});
  // Two groups later.
  for (int i = 0; i < 2; ++i) EXPECT_EQ(harness_.Phase(other), CallPhase::kPending);
  EXPECT_FALSE(put.is_answered());
  EXPECT_TRUE(subscriber->TakeOutputs().empty());
  EXPECT_TRUE(second->TakeOutputs().empty());
  sync.Open();
  EXPECT_EQ(put.Get()[0].status, absl::OkStatus());
  EXPECT_EQ(subscriber->NextOutput().value().call_id, id);
}

TEST_F(SubscriptionEndTest, AStreamWithTheSameTokenTakesTheClaimsOver) {
  Open();
  const CallId id = NewOutput();
  auto first = Subscribe(1, {id});
  const ClaimedOutput output = first->NextOutput().value();
  auto again = Subscribe(1, {id});
  EXPECT_EQ(again->NextOutput().value().fence, output.fence);
  ASSERT_TRUE(first->End());
  EXPECT_EQ(harness_.Phase(id), CallPhase::kClaimed);
  ASSERT_TRUE(again->End());
  EXPECT_EQ(harness_.Phase(id), CallPhase::kReady);
  EXPECT_EQ(harness_.tenant()->ledger.claims(), 0);
}

TEST_F(SubscriptionEndTest, OtherTenantsAreToldThatTheCallDoesNotExist) {
  Open();
  const CallId id = NewOutput();
  Subscriber stranger(&harness_, {.owner = harness_.tenant("other")});
  stranger.GrantMuch();
  ASSERT_TRUE(stranger->Add({id}));
  EXPECT_EQ(ReasonOf(stranger.NextEnded().value().status), Reason::kCallUnknown);
  EXPECT_EQ(harness_.Phase(id), CallPhase::kReady);
}

TEST_F(SubscriptionEndTest, ADrainStopsItAfterWhatWasClaimedAndAcksStillCount) {
  Open();
  const CallId ready = NewOutput();
  const CallId pending = NewInput();
  auto subscriber = Subscribe(1, {ready, pending});
  const ClaimedOutput output = subscriber->NextOutput().value();
  harness_.store()->Drain();
  EXPECT_EQ(ReasonOf(subscriber->NextStop()), Reason::kDraining);
  EXPECT_EQ(Ack(*subscriber, output), absl::OkStatus());
  ASSERT_TRUE((*subscriber)->Add({ready}));
  EXPECT_TRUE(subscriber->End());
  // One that comes later is stopped with its first call.
  auto late = Subscribe(2, {pending});
  EXPECT_EQ(ReasonOf(late->NextStop()), Reason::kDraining);
  EXPECT_TRUE(late->End());
}

TEST_F(SubscriptionEndTest, AFailedCommitStopsIt) {
  Open();
  const CallId id = NewInput();
  const CallId held = NewOutput();
  auto subscriber = Subscribe(1, {id, held});
  ASSERT_TRUE(subscriber->NextOutput().has_value());
  harness_.hooks.commit = [] { return absl::UnavailableError("the disk is gone"); };
  EXPECT_EQ(ReasonOf(harness_.PutOutput(id, "out").status), Reason::kStorageDown);
  EXPECT_EQ(ReasonOf(subscriber->NextStop()), Reason::kStorageDown);
  EXPECT_TRUE(harness_.has_failed());
  EXPECT_TRUE(subscriber->End());
}

TEST_F(SubscriptionEndTest, AFailedReadIsToldToWhoWouldNotHearOfItsCallAgain) {
  Open();
  const CallId held = NewOutput();
  const CallId other = NewInput();
  auto holder = Subscribe(1, {held});
  ASSERT_TRUE(holder->NextOutput().has_value());
  auto waiter = Subscribe(2, {held});
  auto stranger = Subscribe(3, {other});
  harness_.Settle();
  // The release is no read; what comes of it is, and fails.
  harness_.hooks.load = [] { return absl::UnavailableError("a sector cannot be read"); };
  ASSERT_TRUE(holder->End());
  EXPECT_TRUE(absl::IsUnavailable(waiter->NextEnded().value().status));
  harness_.hooks = {};
  EXPECT_FALSE(harness_.has_failed());
  EXPECT_EQ(harness_.Phase(held), CallPhase::kReady);
  // Others go on.
  ASSERT_EQ(harness_.PutOutput(other, "out").status, absl::OkStatus());
  EXPECT_EQ(stranger->NextOutput().value().call_id, other);
}

// What was claimed is replaced by another attempt before it is read.
TEST_F(SubscriptionEndTest, AClaimThatIsLostBeforeItIsReadSaysNothingOfItsCall) {
  Gate read;
  harness_.hooks.read_row = read.hook();
  Open();
  const CallId id = NewOutput();
  auto subscriber =
      std::make_unique<Subscriber>(&harness_, Subscriber::Options{.token = 1, .lease_ms = 1000});
  subscriber->GrantMuch();
  std::thread reader([&] { EXPECT_TRUE((*subscriber)->Add({id})); });
  read.WaitUntilReached();
  harness_.clock.Advance(absl::Milliseconds(1001));
  ASSERT_EQ(harness_.PutOutput(id, "again", 2).status, absl::OkStatus());
  read.Open();
  reader.join();
  const auto output = subscriber->NextOutput();
  ASSERT_TRUE(output && output->payload);
  EXPECT_EQ(output->payload->data, "again");
  EXPECT_TRUE(subscriber->TakeEnded().empty());
  EXPECT_EQ(Ack(*subscriber, *output), absl::OkStatus());
}

TEST_F(SubscriptionEndTest, ReleasesItsClaimsAlthoughTheGroupCannotReadItsCalls) {
  Open();
  const CallId held = NewOutput();
  const CallId other = NewInput();
  auto holder = Subscribe(1, {held});
  ASSERT_TRUE(holder->NextOutput().has_value());
  // Both in one group: what cannot be read is somebody else's.
  Gate commit;
  harness_.hooks.commit = commit.hook();
  Awaited<std::vector<PutResult>> put;
  BeginPut(other, &put);
  commit.WaitUntilReached();
  harness_.hooks.load = [] { return absl::UnavailableError("a sector cannot be read"); };
  auto asking = std::make_unique<Subscriber>(&harness_, Subscriber::Options{.token = 2});
  ASSERT_TRUE((*asking)->Add({other}));
  holder->BeginEnd();
  commit.Open();
  ASSERT_EQ(put.Get()[0].status, absl::OkStatus());
  EXPECT_TRUE(absl::IsUnavailable(asking->NextEnded().value().status));
  ASSERT_TRUE(holder->FinishEnd());
  EXPECT_EQ(harness_.tenant()->ledger.claims(), 0);
  ASSERT_TRUE(asking->End());
  harness_.hooks = {};
  EXPECT_EQ(harness_.Phase(held), CallPhase::kReady);
}

// An engine of several machines: another server has taken a shard over, or may have.
TEST_F(SubscriptionEndTest, ALostShardIsDroppedAndTheOthersGoOn) {
  for (const auto kind : {StorageErrorKind::kFenced, StorageErrorKind::kUncertain}) {
    SCOPED_TRACE(static_cast<int>(kind));
    StoreHarness harness;
    size_t returned = 0;
    harness.hooks.returned = [&](size_t count) { returned += count; };
    harness.config.storage.shards = 2;
    harness.Open();
    std::vector<CallId> ids;
    for (int i = 0; i < 20; ++i) {
      ids.push_back(harness.NewId());
      ASSERT_EQ(harness.PutInput(ids.back(), "in").status, absl::OkStatus());
    }
    Subscriber waiter(&harness, {});
    waiter.GrantMuch();
    ASSERT_TRUE(waiter->Add(ids));
    harness.Settle();

    harness.hooks.commit = [&] {
      return WithKind(MakeError(absl::StatusCode::kUnavailable, Reason::kStorageDown, "lost"),
                      kind);
    };
    EXPECT_EQ(ReasonOf(harness.PutOutput(ids[0], "out").status), Reason::kStorageDown);
    EXPECT_EQ(returned, kind == StorageErrorKind::kFenced ? 1u : 0u) << "it may be stored";
    EXPECT_EQ(ReasonOf(waiter.NextStop()), Reason::kStorageDown);
    harness.hooks.commit = nullptr;
    EXPECT_FALSE(harness.has_failed());
    size_t refused = 0;
    for (const CallId& id : ids) {
      const absl::Status status = harness.PutOutput(id, "out").status;
      if (status.ok()) continue;
      EXPECT_EQ(ReasonOf(status), Reason::kStorageDown);
      ++refused;
    }
    EXPECT_GT(refused, 0u);
    EXPECT_LT(refused, ids.size());
    EXPECT_EQ(ReasonOf(harness.PutOutput(ids[0], "out").status), Reason::kStorageDown);
    EXPECT_FALSE(harness.has_failed());
  }
}

// ---- Claims that pass to the next subscription with the token

TEST_F(SubscriptionEndTest, WithoutASuccessorTheClaimsOfABrokenSessionAreReleasedInTime) {
  Open();
  const CallId id = NewOutput();
  auto first = Subscribe(1, {id});
  ASSERT_TRUE(first->NextOutput().has_value());
  auto other = Subscribe(2, {id});
  ASSERT_TRUE(first->Part(ClaimsAtEnd::kAwait));
  harness_.clock.Advance(absl::Milliseconds(Subscriptions::kSuccessorWaitMs - 1));
  harness_.Settle();
  EXPECT_TRUE(other->TakeOutputs().empty());
  harness_.clock.Advance(absl::Seconds(1));
  harness_.Settle();
  const std::optional<ClaimedOutput> output = other->NextOutput();
  ASSERT_TRUE(output.has_value());
  EXPECT_EQ(Ack(*other, *output), absl::OkStatus());
}

TEST_F(SubscriptionEndTest, ASuccessorHasTheClaimsAndTheirReleaseIsItsOwn) {
  Open();
  for (const bool comes_first : {false, true}) {
    const CallId id = NewOutput();
    auto first = Subscribe(1, {id});
    const ClaimedOutput output = first->NextOutput().value();
    auto other = Subscribe(2, {id});
    std::unique_ptr<Subscriber> second;
    if (comes_first) second = Subscribe(1, {});
    ASSERT_TRUE(first->Part(ClaimsAtEnd::kAwait));
    if (!comes_first) second = Subscribe(1, {});
    harness_.clock.Advance(absl::Milliseconds(Subscriptions::kSuccessorWaitMs + 1000));
    harness_.Settle();
    EXPECT_TRUE(other->TakeOutputs().empty());
    EXPECT_EQ(harness_.tenant()->ledger.claims(), 1);
    // The third in the row, whose end is one that releases.
    ASSERT_TRUE(second->Part(ClaimsAtEnd::kAwait));
    auto third = Subscribe(1, {id});
    // Who asks again gets the same claim.
    EXPECT_EQ(third->NextOutput().value().fence, output.fence);
    ASSERT_TRUE(third->End());
    const ClaimedOutput released = other->NextOutput().value();
    EXPECT_EQ(Ack(*other, released), absl::OkStatus());
    EXPECT_EQ(harness_.tenant()->ledger.claims(), 0);
  }
}

TEST_F(SubscriptionEndTest, AnotherTenantsSubscriptionWithTheTokenIsNoSuccessor) {
  Open();
  const CallId id = NewOutput();
  auto first = Subscribe(1, {id});
  ASSERT_TRUE(first->NextOutput().has_value());
  ASSERT_TRUE(first->Part(ClaimsAtEnd::kAwait));
  Subscriber stranger(&harness_, {.token = 1, .owner = harness_.tenant("other")});
  harness_.clock.Advance(absl::Milliseconds(Subscriptions::kSuccessorWaitMs));
  harness_.clock.Advance(absl::Seconds(1));
  harness_.Settle();
  EXPECT_EQ(harness_.tenant()->ledger.claims(), 0);
}

TEST_F(SubscriptionEndTest, KeptClaimsLastForTheirLeases) {
  Open();
  const CallId id = NewOutput();
  auto first = Subscribe(1, {id});
  const ClaimedOutput output = first->NextOutput().value();
  ASSERT_TRUE(first->Part(ClaimsAtEnd::kKeep));
  harness_.clock.Advance(absl::Milliseconds(Subscriptions::kSuccessorWaitMs + 1000));
  harness_.Settle();
  EXPECT_EQ(harness_.tenant()->ledger.claims(), 1);
  // Nor are they those of one that comes too late.
  auto late = Subscribe(1, {});
  ASSERT_TRUE(late->End());
  EXPECT_EQ(harness_.tenant()->ledger.claims(), 1);
  harness_.clock.Advance(absl::Seconds(30));
  harness_.Settle();
  EXPECT_EQ(harness_.tenant()->ledger.claims(), 0);
  EXPECT_EQ(ReasonOf(harness_.Ack(id, first->token(), output.fence).status), Reason::kClaimLost);
}

}  // namespace
}  // namespace mayfly
