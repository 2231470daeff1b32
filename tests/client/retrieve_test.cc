#include <chrono>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "client/client_fixture.h"

namespace mayfly::client {
namespace {

using ::testing::ElementsAre;
using When = Fault::When;

class RetrieveTest : public ClientFixture {
 protected:
  // Retrieves into delivered_, with `during` run while the output is in the consumer's hands.
  absl::StatusOr<absl::Time> Retrieve(
      const std::string& id, const std::function<void()>& during = [] {}) {
    return client_.Retrieve(id, [&](const ClaimedOutput& output) {
      delivered_.push_back(output.payload.data);
      during();
      return absl::OkStatus();
    });
  }

  std::vector<std::string> delivered_;
};

TEST_F(RetrieveTest, AcksAfterTheOutputWasConsumed) {
  const std::string id = NewReadyCall("42");
  const absl::StatusOr<absl::Time> erased =
      Retrieve(id, [&] { EXPECT_EQ(server_.CountOf("Ack"), 0); });
  ASSERT_TRUE(erased.ok()) << erased.status();
  EXPECT_THAT(delivered_, ElementsAre("42"));
  const v1::AckItem ack = server_.RequestsOf<v1::AckOutputsRequest>()[0].items(0);
  EXPECT_EQ(ack.crc32c(), Crc32c(AsBytes("42")));
  EXPECT_EQ(ReasonOf(Retrieve(id).status()), Reason::kOutputConsumed);
  EXPECT_THAT(delivered_, ElementsAre("42"));
}

TEST_F(RetrieveTest, ALostReplyOfTheAckIsAskedForWithTokenAndFence) {
  const std::string id = NewReadyCall("42");
  server_.FailNext("AckOutputs", {.when = When::kAfter});
  ASSERT_TRUE(Retrieve(id).ok());
  EXPECT_THAT(delivered_, ElementsAre("42"));
  const auto acks = server_.RequestsOf<v1::AckOutputsRequest>();
  ASSERT_EQ(acks.size(), 2);
  EXPECT_EQ(acks[0].SerializeAsString(), acks[1].SerializeAsString());
  EXPECT_EQ(server_.CountOf("ClaimOutputs"), 1);
}

TEST_F(RetrieveTest, ARestartOfTheServerDoesNotDeliverTwice) {
  const std::string id = NewReadyCall("42");
  ASSERT_TRUE(Retrieve(id, [&] { server_.ForgetClaims(); }).ok());
  EXPECT_THAT(delivered_, ElementsAre("42"));
  const auto claims = server_.RequestsOf<v1::ClaimOutputsRequest>();
  ASSERT_EQ(claims.size(), 2);
  EXPECT_EQ(claims[0].claim_token(), claims[1].claim_token());
  const auto acks = server_.RequestsOf<v1::AckOutputsRequest>();
  ASSERT_EQ(acks.size(), 2);
  EXPECT_NE(acks[0].items(0).fence(), acks[1].items(0).fence());
  EXPECT_EQ(client_.DescribeCall(id)->state, CallState::kConsumed);
}

TEST_F(RetrieveTest, AnOutputThatWasReplacedMeanwhileIsDelivered) {
  const std::string id = NewReadyCall("42");
  bool replaced = false;
  ASSERT_TRUE(Retrieve(id, [&] {
                if (replaced) return;
                replaced = true;
                server_.ForgetClaims();
                server_.AddOutput(id, 2, "43");
              }).ok());
  EXPECT_THAT(delivered_, ElementsAre("42", "43"));
}

TEST_F(RetrieveTest, AClaimThatAnotherClientHasNowIsLost) {
  const std::string id = NewReadyCall("42");
  const absl::Status status =
      Retrieve(id, [&] { server_.ClaimElsewhere(id, /*ack=*/false); }).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), Reason::kClaimLost);
}

TEST_F(RetrieveTest, AnAckOfAnotherClientIsTold) {
  const std::string id = NewReadyCall("42");
  const absl::Status status =
      Retrieve(id, [&] { server_.ClaimElsewhere(id, /*ack=*/true); }).status();
  EXPECT_EQ(ReasonOf(status), Reason::kOutputConsumed);
}

TEST_F(RetrieveTest, AnErrorOfTheConsumerReleasesTheClaim) {
  const std::string id = NewReadyCall("42");
  const absl::Status full = absl::ResourceExhaustedError("disk full");
  EXPECT_EQ(client_.Retrieve(id, [&](const ClaimedOutput&) { return full; }).status(), full);
  EXPECT_EQ(server_.CountOf("Ack"), 0);
  EXPECT_TRUE(WaitForState(id, CallState::kReady));
}

TEST_F(RetrieveTest, NothingWithinTheWaitIsPending) {
  const std::string id = client_.PutInput({})->call_id;
  const absl::Status status = Retrieve(id).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), Reason::kOutputPending);
}

TEST_F(RetrieveTest, TheClaimIsRenewedWhileTheConsumerWorks) {
  const std::string id = NewReadyCall("42");
  const absl::Duration lease = absl::Milliseconds(90);
  const absl::Status status = client_
                                  .Retrieve(id,
                                            [&](const ClaimedOutput&) {
                                              return server_.WaitFor("RenewClaims", 3)
                                                         ? absl::OkStatus()
                                                         : absl::InternalError("no renewals");
                                            },
                                            {.lease = lease})
                                  .status();
  EXPECT_TRUE(status.ok()) << status;
  for (const auto& request : server_.RequestsOf<v1::RenewClaimsRequest>()) {
    EXPECT_EQ(request.lease().nanos(), 90'000'000);
    EXPECT_EQ(request.items(0).call_id(), id);
  }
}

// The end of a wait must not take away the subscription of one that begins at the same time.
TEST_F(RetrieveTest, AWaitMayBeginWhileAnotherForItsCallEnds) {
  constexpr int kRounds = 300;
  constexpr int kWaits = 8;
  for (int round = 0; round < kRounds; ++round) {
    const std::string id = client_.PutInput({})->call_id;
    std::vector<Cancellation> cancellations(kWaits);
    std::vector<Client::Future<ClaimedOutput>> cancelled;
    std::thread canceller([&] {
      for (const Cancellation& cancellation : cancellations) cancellation.Cancel();
    });
    for (const Cancellation& cancellation : cancellations) {
      cancelled.push_back(
          client_.AwaitOutputFuture(id, {.wait = absl::Hours(1), .cancellation = cancellation}));
    }
    auto kept = client_.AwaitOutputFuture(id, {.wait = absl::Hours(1)});
    canceller.join();
    for (auto& each : cancelled) EXPECT_TRUE(absl::IsCancelled(each.get().status()));
    server_.AddOutput(id, 1, "42");
    ASSERT_EQ(kept.wait_for(std::chrono::seconds(60)), std::future_status::ready) << round;
    EXPECT_TRUE(kept.get().ok());
  }
}

TEST_F(RetrieveTest, ACallThatEndsWhileItsOutputIsHeldEndsTheOtherWaits) {
  const std::string id = NewReadyCall("42");
  const absl::StatusOr<ClaimedOutput> held =
      client_.AwaitOutput(id, {.lease = absl::Milliseconds(90)});
  ASSERT_TRUE(held.ok()) << held.status();
  auto next = client_.AwaitOutputFuture(id, {.wait = absl::Hours(1)});
  ASSERT_TRUE(client_.DeleteCall(id).ok());
  ASSERT_EQ(next.wait_for(std::chrono::seconds(60)), std::future_status::ready);
  EXPECT_EQ(ReasonOf(next.get().status()), Reason::kCallDeleted);
}

TEST_F(RetrieveTest, ARenewalThatFailsIsRepeated) {
  const std::string id = NewReadyCall("42");
  server_.FailNext("RenewClaims", {.when = When::kSilence});
  server_.FailNext("RenewClaims", {.when = When::kBefore});
  const absl::Status status = client_
                                  .Retrieve(id,
                                            [&](const ClaimedOutput&) {
                                              return server_.WaitFor("RenewClaims", 4)
                                                         ? absl::OkStatus()
                                                         : absl::InternalError("no renewals");
                                            },
                                            {.lease = absl::Milliseconds(300)})
                                  .status();
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace
}  // namespace mayfly::client
