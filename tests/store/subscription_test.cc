// Subscriptions on a whole store: what is delivered when, who holds which claims, and what remains
// after an end.

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "store/gate.h"
#include "store/subscriber.h"

namespace mayfly {
namespace {

class SubscriptionTest : public ::testing::Test {
 protected:
  void Open() { harness_.Open(); }

  CallId NewInput(absl::Duration ttl = absl::Hours(1)) {
    const CallId id = harness_.NewId();
    EXPECT_EQ(harness_.PutInput(id, "in", ttl).status, absl::OkStatus());
    return id;
  }
  CallId NewOutput(const std::string& data = "out") {
    const CallId id = NewInput();
    EXPECT_EQ(harness_.PutOutput(id, data).status, absl::OkStatus());
    return id;
  }
  std::vector<CallId> NewOutputs(int count, const std::string& data = "out") {
    std::vector<CallId> ids;
    for (int i = 0; i < count; ++i) ids.push_back(NewOutput(data));
    return ids;
  }
  absl::Status Ack(const Subscriber& subscriber, const ClaimedOutput& output) {
    return harness_.Ack(output.call_id, subscriber.token(), output.fence).status;
  }
  absl::Status Release(const Subscriber& subscriber, const ClaimedOutput& output) {
    return harness_.Release(output.call_id, subscriber.token(), output.fence);
  }
  static std::string IdOf(const std::optional<ClaimedOutput>& output) {
    return output.has_value() ? output->call_id.ToString() : "nothing was told";
  }
  static std::optional<Reason> ReasonOf(const std::optional<EndedCall>& ended) {
    if (!ended.has_value()) return std::nullopt;
    return mayfly::ReasonOf(ended->status);
  }
  int CountReady(const std::vector<CallId>& ids) {
    int count = 0;
    for (const CallId& id : ids) count += harness_.Phase(id) == CallPhase::kReady;
    return count;
  }

  StoreHarness harness_;
};

TEST_F(SubscriptionTest, TellsOutputsInTheOrderOfTheirReadinessAndEachOnce) {
  Open();
  std::vector<CallId> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(NewInput());
  Subscriber subscriber(&harness_, {});
  subscriber.GrantMuch();
  ASSERT_TRUE(subscriber->Add(ids));
  ASSERT_TRUE(subscriber->Add(ids));
  for (int i = 4; i >= 0; --i) {
    ASSERT_EQ(harness_.PutOutput(ids[i], std::string(1, 'a' + i)).status, absl::OkStatus());
  }
  for (int i = 4; i >= 0; --i) {
    const auto output = subscriber.NextOutput();
    ASSERT_EQ(IdOf(output), ids[i].ToString());
    EXPECT_EQ(output->payload->data, std::string(1, 'a' + i));
    EXPECT_EQ(harness_.Phase(ids[i]), CallPhase::kClaimed);
  }
  // Its turn is over with the first, even when it is claimable again.
  harness_.clock.Advance(absl::Seconds(31));
  harness_.Settle();
  EXPECT_TRUE(subscriber.TakeOutputs().empty());
}

TEST_F(SubscriptionTest, ClaimsNoMoreThanThereIsCreditForItems) {
  Open();
  const std::vector<CallId> ids = NewOutputs(5);
  Subscriber subscriber(&harness_, {});
  subscriber->Grant(2, Subscriber::kMuch);
  ASSERT_TRUE(subscriber->Add(ids));
  EXPECT_EQ(IdOf(subscriber.NextOutput()), ids[0].ToString());
  EXPECT_EQ(IdOf(subscriber.NextOutput()), ids[1].ToString());
  harness_.Settle();
  EXPECT_EQ(CountReady(ids), 3);
  subscriber->Grant(1, 0);
  EXPECT_EQ(IdOf(subscriber.NextOutput()), ids[2].ToString());
  harness_.Settle();
  EXPECT_EQ(CountReady(ids), 2);
  subscriber->Grant(10, 0);
  EXPECT_EQ(IdOf(subscriber.NextOutput()), ids[3].ToString());
  EXPECT_EQ(IdOf(subscriber.NextOutput()), ids[4].ToString());
}

TEST_F(SubscriptionTest, ClaimsWhileThereIsCreditForBytesAndTheLastMayExceedIt) {
  Open();
  const std::vector<CallId> ids = NewOutputs(4, std::string(8, 'x'));
  Subscriber subscriber(&harness_, {});
  subscriber->Grant(100, 10);
  ASSERT_TRUE(subscriber->Add(ids));
  EXPECT_EQ(IdOf(subscriber.NextOutput()), ids[0].ToString());
  EXPECT_EQ(IdOf(subscriber.NextOutput()), ids[1].ToString());
  subscriber->Grant(0, 6);  // up to 0 again
  harness_.Settle();
  EXPECT_EQ(CountReady(ids), 2);
  subscriber->Grant(0, 1);
  EXPECT_EQ(IdOf(subscriber.NextOutput()), ids[2].ToString());
  harness_.Settle();
  EXPECT_EQ(CountReady(ids), 1);
}

TEST_F(SubscriptionTest, AnOutputThatWaitsForCreditIsNotOvertakenByALaterOne) {
  Open();
  const CallId first = NewOutput();
  const CallId later = NewInput();
  Subscriber subscriber(&harness_, {});
  ASSERT_TRUE(subscriber->Add({first, later}));
  harness_.Settle();
  // Credit comes while the later one is being committed.
  Gate commit;
  harness_.hooks.commit = commit.hook();
  Awaited<std::vector<PutResult>> put;
  harness_.store()->Put(harness_.tenant(),
                        {NewPut{.call_id = later,
                                .kind = PayloadKind::kOutput,
                                .attempt = 1,
                                .payload = MakePayload("out"),
                                .ttl_ms = 60'000}},
                        put.callback());
  commit.WaitUntilReached();
  subscriber->Grant(1, Subscriber::kMuch);
  commit.Open();
  EXPECT_EQ(IdOf(subscriber.NextOutput()), first.ToString());
  harness_.Settle();
  EXPECT_EQ(harness_.Phase(later), CallPhase::kReady);
  subscriber->Grant(1, 0);
  EXPECT_EQ(IdOf(subscriber.NextOutput()), later.ToString());
}

TEST_F(SubscriptionTest, LargerOutputsAreTakenAsANoticeThatCostsNoBytes) {
  Open();
  const CallId large = NewOutput(std::string(101, 'x'));
  const CallId fits = NewOutput(std::string(100, 'x'));
  const CallId after = NewOutput("x");
  Subscriber subscriber(&harness_, {.bytes_max = 100});
  subscriber->Grant(10, 100);
  ASSERT_TRUE(subscriber->Add({large, fits, after}));
  const auto notice = subscriber.NextOutput();
  ASSERT_EQ(IdOf(notice), large.ToString());
  EXPECT_FALSE(notice->payload.has_value());
  EXPECT_EQ(notice->stored.size_bytes, 101u);
  EXPECT_EQ(harness_.Phase(large), CallPhase::kClaimed);
  const auto output = subscriber.NextOutput();
  ASSERT_EQ(IdOf(output), fits.ToString());
  EXPECT_EQ(output->payload->data.size(), 100u);
  // Those 100 bytes were all.
  harness_.Settle();
  EXPECT_EQ(harness_.Phase(after), CallPhase::kReady);
  EXPECT_EQ(Ack(subscriber, *notice), absl::OkStatus());
}

TEST_F(SubscriptionTest, TellsEndedCallsWithoutCredit) {
  Open();
  const CallId unknown = harness_.NewId();
  const CallId deleted = NewOutput();
  ASSERT_EQ(harness_.Delete(deleted).status, absl::OkStatus());
  const CallId consumed = NewOutput();
  ASSERT_EQ(harness_.Ack(consumed, 9, harness_.Claim(consumed, 9).outputs.at(0).fence).status,
            absl::OkStatus());
  const CallId expired = NewInput(absl::Seconds(5));
  harness_.clock.Advance(absl::Seconds(5));
  const CallId deleted_later = NewInput();
  Subscriber subscriber(&harness_, {});
  ASSERT_TRUE(subscriber->Add({unknown, deleted, consumed, expired, deleted_later}));
  EXPECT_EQ(ReasonOf(subscriber.NextEnded()), Reason::kCallUnknown);
  EXPECT_EQ(ReasonOf(subscriber.NextEnded()), Reason::kCallDeleted);
  EXPECT_EQ(ReasonOf(subscriber.NextEnded()), Reason::kOutputConsumed);
  EXPECT_EQ(ReasonOf(subscriber.NextEnded()), Reason::kCallExpired);
  ASSERT_EQ(harness_.Delete(deleted_later).status, absl::OkStatus());
  const auto last = subscriber.NextEnded();
  EXPECT_EQ(ReasonOf(last), Reason::kCallDeleted);
  EXPECT_EQ(last->call_id, deleted_later);
}

TEST_F(SubscriptionTest, TellsOfADeadlineThatPassesWhileItWaits) {
  Open();
  const CallId pending = NewInput(absl::Seconds(5));
  const CallId ready = NewInput();
  ASSERT_EQ(harness_.PutOutput(ready, "out", 1, absl::Seconds(7)).status, absl::OkStatus());
  Subscriber subscriber(&harness_, {});  // without credit
  ASSERT_TRUE(subscriber->Add({pending, ready}));
  harness_.clock.Advance(absl::Seconds(6));
  harness_.Settle();
  auto ended = subscriber.NextEnded();
  EXPECT_EQ(ReasonOf(ended), Reason::kCallExpired);
  EXPECT_EQ(ended->call_id, pending);
  harness_.clock.Advance(absl::Seconds(2));
  // Before the sweep has come by.
  subscriber.GrantMuch();
  ended = subscriber.NextEnded();
  EXPECT_EQ(ReasonOf(ended), Reason::kCallExpired);
  EXPECT_EQ(ended->call_id, ready);
  EXPECT_TRUE(subscriber.TakeOutputs().empty());
}

TEST_F(SubscriptionTest, KeepsToTheTenantsLimitOfClaims) {
  harness_.config.claims.outstanding_max = 3;
  Open();
  const std::vector<CallId> ids = NewOutputs(6);
  Subscriber subscriber(&harness_, {.lease_ms = 1'000'000});
  subscriber.GrantMuch();
  ASSERT_TRUE(subscriber->Add(ids));
  std::vector<ClaimedOutput> held;
  for (int i = 0; i < 3; ++i) held.push_back(*subscriber.NextOutput());
  harness_.Settle();
  EXPECT_EQ(CountReady(ids), 3);
  EXPECT_EQ(harness_.tenant()->ledger.claims(), 3);
  // At once, when its owner says so.
  ASSERT_EQ(Ack(subscriber, held[0]), absl::OkStatus());
  subscriber->Retry();
  EXPECT_EQ(IdOf(subscriber.NextOutput()), ids[3].ToString());
  // After a second, when it was somebody else. It has run into the limit again by then.
  harness_.Settle();
  ASSERT_EQ(Release(subscriber, held[1]), absl::OkStatus());
  harness_.Settle();
  EXPECT_EQ(CountReady(ids), 3);
  harness_.clock.Advance(absl::Milliseconds(1100));
  EXPECT_EQ(IdOf(subscriber.NextOutput()), ids[4].ToString());
  // And while nothing has come back, second by second.
  for (int i = 0; i < 3; ++i) {
    harness_.clock.Advance(absl::Milliseconds(1100));
    harness_.Settle();
    EXPECT_EQ(CountReady(ids), 2);
  }
  ASSERT_EQ(Ack(subscriber, held[2]), absl::OkStatus());
  harness_.clock.Advance(absl::Milliseconds(1100));
  EXPECT_EQ(IdOf(subscriber.NextOutput()), ids[5].ToString());
  EXPECT_TRUE(subscriber.End());
  EXPECT_EQ(harness_.tenant()->ledger.claims(), 0);
}

TEST_F(SubscriptionTest, HoldsNoMoreUnsentThanThereIsRoomFor) {
  harness_.config.storage.durability = Config::Durability::kRelaxed;
  Open();
  constexpr int kMore = 20;
  const std::vector<CallId> ids = NewOutputs(Subscription::kUnsentItemsMax + kMore);
  Subscriber subscriber(&harness_, {.sends = false});
  subscriber.GrantMuch();
  ASSERT_TRUE(subscriber->Add(ids));
  for (int i = 0; i < Subscription::kUnsentItemsMax; ++i) {
    ASSERT_TRUE(subscriber.NextOutput().has_value());
  }
  // An end takes room like an output.
  ASSERT_TRUE(subscriber->Add({harness_.NewId()}));
  harness_.Settle();
  EXPECT_EQ(CountReady(ids), kMore);
  EXPECT_TRUE(subscriber.TakeEnded().empty());
  subscriber->Sent(kMore + 1, 3 * (kMore + 1));
  for (int i = 0; i < kMore; ++i) ASSERT_TRUE(subscriber.NextOutput().has_value());
  EXPECT_EQ(ReasonOf(subscriber.NextEnded()), Reason::kCallUnknown);
}

TEST_F(SubscriptionTest, HoldsNoMoreBytesUnsentThanThereIsRoomFor) {
  Open();
  constexpr uint64_t kBytes = 1 << 20;
  const std::vector<CallId> ids = NewOutputs(6, std::string(kBytes, 'x'));
  Subscriber subscriber(&harness_, {.sends = false});
  subscriber.GrantMuch();
  ASSERT_TRUE(subscriber->Add(ids));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(subscriber.NextOutput().has_value());
  harness_.Settle();
  EXPECT_EQ(CountReady(ids), 2);
  subscriber->Sent(1, kBytes);
  ASSERT_TRUE(subscriber.NextOutput().has_value());
  harness_.Settle();
  EXPECT_EQ(CountReady(ids), 1);
}

TEST_F(SubscriptionTest, WaitsForNoMoreCallsThanItMay) {
  harness_.config.limits.stream_subscriptions_max = 3;
  Open();
  std::vector<CallId> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(NewInput());
  Subscriber subscriber(&harness_, {});
  subscriber.GrantMuch();
  EXPECT_TRUE(subscriber->Add({ids[0]}));
  EXPECT_FALSE(subscriber->Add({ids[1], ids[2], ids[3]}));
  // None of the new ones is waited for then.
  ASSERT_EQ(harness_.PutOutput(ids[1], "out").status, absl::OkStatus());
  harness_.Settle();
  EXPECT_EQ(harness_.Phase(ids[1]), CallPhase::kReady);
  EXPECT_TRUE(subscriber->Add({ids[0], ids[2], ids[3]}));
  EXPECT_FALSE(subscriber->Add({ids[1]}));
  // What was told makes room.
  ASSERT_EQ(harness_.PutOutput(ids[0], "out").status, absl::OkStatus());
  EXPECT_EQ(IdOf(subscriber.NextOutput()), ids[0].ToString());
  EXPECT_TRUE(subscriber->Add({ids[1]}));
  EXPECT_EQ(IdOf(subscriber.NextOutput()), ids[1].ToString());
}

TEST_F(SubscriptionTest, WhatIsUnsubscribedIsNotClaimed) {
  Open();
  const CallId pending = NewInput();
  const CallId ready = NewOutput();
  Subscriber subscriber(&harness_, {});
  ASSERT_TRUE(subscriber->Add({pending, ready}));  // `ready` waits for credit
  harness_.Settle();
  subscriber->Remove({pending, ready, harness_.NewId()});
  subscriber.GrantMuch();
  ASSERT_EQ(harness_.PutOutput(pending, "out").status, absl::OkStatus());
  harness_.Settle();
  EXPECT_EQ(CountReady({pending, ready}), 2);
  EXPECT_TRUE(subscriber.End());
}

TEST_F(SubscriptionTest, WhatIsUnsubscribedAndWantedAgainIsTold) {
  Open();
  const CallId id = NewInput();
  Subscriber subscriber(&harness_, {});
  subscriber.GrantMuch();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(subscriber->Add({id}));
    subscriber->Remove({id});
  }
  ASSERT_TRUE(subscriber->Add({id}));
  ASSERT_EQ(harness_.PutOutput(id, "out").status, absl::OkStatus());
  EXPECT_EQ(IdOf(subscriber.NextOutput()), id.ToString());
  EXPECT_TRUE(subscriber.End());
}

}  // namespace
}  // namespace mayfly
