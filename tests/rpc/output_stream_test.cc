// StreamOutputs: clients that do not read, half-closes, drains, and what holds claims back.

#include "rpc/output_stream.h"

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "e2e/output_stream_call.h"
#include "rpc/served_store.h"

namespace mayfly {
namespace {

class OutputStreamTest : public ::testing::Test {
 protected:
  void Start() { served_.Start(); }

  std::unique_ptr<OutputStreamCall> Open(const std::vector<CallId>& ids, uint32_t items = 1'000'000,
                                         uint64_t bytes = uint64_t{1} << 40) {
    auto call = std::make_unique<OutputStreamCall>(served_.client.get());
    v1::StreamOutputsRequest request = OutputStreamCall::Opening(items, bytes);
    for (const CallId& id : ids) request.add_subscribe_call_ids(id.ToString());
    EXPECT_TRUE(call->Write(request));
    return call;
  }
  static v1::StreamOutputsRequest AckOf(const v1::ClaimedOutput& output) {
    v1::StreamOutputsRequest request;
    request.add_acks()->set_call_id(output.call_id());
    request.mutable_acks(0)->set_fence(output.fence());
    return request;
  }
  CallPhase Phase(const CallId& id) { return served_.harness.Phase(id, served_.tenant()); }
  bool ClaimsBecome(int64_t count) {
    const absl::Time give_up = absl::Now() + kPatience;
    while (served_.tenant()->ledger.claims() != count && absl::Now() < give_up) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    return served_.tenant()->ledger.claims() == count;
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

TEST_F(OutputStreamTest, AcksAreAnsweredInTheirOrderAfterAHalfClose) {
  Start();
  const CallId first = served_.NewOutput();
  const CallId second = served_.NewOutput();
  auto call = Open({first, second});
  v1::StreamOutputsRequest acks = AckOf(call->NextOutput());
  *acks.add_acks() = AckOf(call->NextOutput()).acks(0);
  acks.add_acks()->set_call_id("no id");
  v1::ReleaseItem* const release = acks.add_releases();
  release->set_call_id(served_.NewInput().ToString());
  ASSERT_TRUE(call->Write(acks));
  call->HalfClose();
  EXPECT_EQ(call->NextAckResult(), "OK");
  EXPECT_EQ(call->NextAckResult(), "OK");
  EXPECT_EQ(call->NextAckResult(), "INVALID_ARGUMENT FIELD_INVALID");
  EXPECT_EQ(call->FinishAfterRest(), "OK");
  EXPECT_EQ(Phase(first), CallPhase::kConsumed);
  EXPECT_EQ(Phase(second), CallPhase::kConsumed);
}

TEST_F(OutputStreamTest, AHalfCloseReleasesWhatIsNotAcked) {
  Start();
  const CallId acked = served_.NewOutput();
  const CallId held = served_.NewOutput();
  auto call = Open({acked, held});
  ASSERT_TRUE(call->Write(AckOf(call->NextOutput())));
  call->NextOutput();
  call->HalfClose();
  EXPECT_EQ(call->FinishAfterRest(), "OK");
  // By the time of the answer, not some time after.
  EXPECT_EQ(served_.tenant()->ledger.claims(), 0);
  EXPECT_EQ(Phase(acked), CallPhase::kConsumed);
  EXPECT_EQ(Phase(held), CallPhase::kReady);
}

TEST_F(OutputStreamTest, ABrokenStreamReleasesItsClaims) {
  Start();
  std::vector<CallId> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(served_.NewOutput());
  auto call = Open(ids);
  for (int i = 0; i < 5; ++i) call->NextOutput();
  EXPECT_EQ(served_.tenant()->ledger.claims(), 5);
  call->Break();
  EXPECT_TRUE(ClaimsBecome(0));
}

TEST_F(OutputStreamTest, WhoDoesNotReadIsSentNoMoreThanThereIsRoomFor) {
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

TEST_F(OutputStreamTest, WhoAcksAndDoesNotReadIsNotReadEither) {
  Start();
  std::atomic<int> groups{0};
  auto call = Open({});
  served_.harness.hooks.load = [&] {
    ++groups;
    return absl::OkStatus();
  };
  constexpr int kMessages = 500;
  constexpr int kAcks = 512;
  v1::StreamOutputsRequest acks;
  for (int i = 0; i < kAcks; ++i) {
    v1::AckItem* const ack = acks.add_acks();
    ack->set_call_id(served_.harness.NewId().ToString());
    ack->set_fence(1);
  }
  std::atomic<int> written{0};
  std::thread writer([&] {
    for (int i = 0; i < kMessages; ++i) {
      if (!call->Write(acks)) return;
      ++written;
    }
    call->HalfClose();
  });
  // Until both directions are full: 512 answers have at least 50 bytes each, and gRPC buffers a few
  // MiB at most.
  const absl::Time give_up = absl::Now() + kPatience;
  int before = -1;
  while (groups != before && absl::Now() < give_up) {
    before = groups;
    absl::SleepFor(absl::Milliseconds(300));
  }
  EXPECT_LT(groups, kMessages / 2);
  EXPECT_LT(written, kMessages);
  // None of the answers is lost.
  int64_t results = 0;
  v1::StreamOutputsResponse response;
  while (call->Read(&response)) {
    results += response.ack_results_size();
    for (const v1::AckResult& result : response.ack_results()) {
      ASSERT_EQ(Summary(result.status()), "NOT_FOUND CALL_UNKNOWN");
    }
  }
  writer.join();
  EXPECT_EQ(call->Finish(), "OK");
  EXPECT_EQ(results, int64_t{kMessages} * kAcks);
}

TEST_F(OutputStreamTest, ADrainWaitsForTheAcksOfWhatItHasSent) {
  Start();
  const CallId id = served_.NewOutput();
  const CallId pending = served_.NewInput();
  auto call = Open({id, pending});
  const v1::ClaimedOutput output = call->NextOutput();
  served_.server->Drain();
  ASSERT_TRUE(call->Write(AckOf(output)));
  EXPECT_EQ(call->NextAckResult(), "OK");
  EXPECT_EQ(call->FinishAfterRest(), "UNAVAILABLE DRAINING");
  EXPECT_EQ(Phase(id), CallPhase::kConsumed);
}

TEST_F(OutputStreamTest, ADrainEndsAStreamThatHasNotBeenOpened) {
  Start();
  OutputStreamCall call(served_.client.get());
  // So that the server has it.
  auto other = Open({});
  served_.server->Drain();
  EXPECT_EQ(call.FinishAfterRest(), "UNAVAILABLE DRAINING");
  EXPECT_EQ(other->FinishAfterRest(), "UNAVAILABLE DRAINING");
}

TEST_F(OutputStreamTest, ADrainEndsAStreamWhoseClientDoesNotRead) {
  Start();
  std::vector<CallId> ids;
  for (int i = 0; i < 16; ++i) ids.push_back(served_.NewOutput(std::string(1 << 20, 'x')));
  auto call = Open(ids);
  EXPECT_TRUE(ClaimsStand(/*least=*/1));
  served_.server->Drain();
  served_.harness.store()->Drain();
  EXPECT_TRUE(ClaimsBecome(0));
}

TEST_F(OutputStreamTest, WhatTheClientGetsWrongEndsTheStream) {
  served_.harness.config.limits.stream_subscriptions_max = 3;
  Start();
  OutputStreamCall unopened(served_.client.get());
  v1::StreamOutputsRequest request;
  request.mutable_credit()->set_item_count(1);
  ASSERT_TRUE(unopened.Write(request));
  EXPECT_EQ(unopened.FinishAfterRest(), "INVALID_ARGUMENT FIELD_INVALID");

  auto twice = Open({});
  ASSERT_TRUE(twice->Write(OutputStreamCall::Opening()));
  EXPECT_EQ(twice->FinishAfterRest(), "INVALID_ARGUMENT FIELD_INVALID");

  const CallId id = served_.NewInput();
  auto many = Open({id});
  v1::StreamOutputsRequest more;
  for (int i = 0; i < 3; ++i) more.add_subscribe_call_ids(served_.NewInput().ToString());
  ASSERT_TRUE(many->Write(more));
  EXPECT_EQ(many->FinishAfterRest(), "INVALID_ARGUMENT FIELD_INVALID");
}

}  // namespace
}  // namespace mayfly
