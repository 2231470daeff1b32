// The life of calls through the whole store, without the network.
#include "store/call_store.h"

#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "store/store_harness.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;

class CallStoreTest : public testing::Test {
 protected:
  CallStoreTest() { harness_.Open(); }

  // Puts both payloads and claims the output.
  ClaimedOutput Claimed(const CallId& id, uint64_t token) {
    EXPECT_TRUE(harness_.PutInput(id, "in").status.ok());
    EXPECT_TRUE(harness_.PutOutput(id, "out").status.ok());
    ClaimResponse claim = harness_.Claim(id, token);
    EXPECT_EQ(claim.outputs.size(), 1);
    return std::move(claim.outputs.at(0));
  }

  StoreHarness harness_;
};

std::string Pattern(size_t size) {
  std::string data(size, '\0');
  for (size_t i = 0; i < size; ++i) data[i] = static_cast<char>(i * 131 + i / 251);
  return data;
}

TEST_F(CallStoreTest, ACallLivesFromPutToAckAndIsGone) {
  const CallId id = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(id, "question").status.ok());
  EXPECT_EQ(harness_.Phase(id), CallPhase::kPending);
  InputResult input = harness_.GetInput(id);
  ASSERT_TRUE(input.status.ok()) << input.status;
  EXPECT_EQ(input.payload->data, "question");
  ASSERT_TRUE(harness_.PutOutput(id, "answer").status.ok());
  EXPECT_EQ(harness_.Phase(id), CallPhase::kReady);

  ClaimResponse claim = harness_.Claim(id, 1);
  ASSERT_EQ(claim.outputs.size(), 1);
  EXPECT_EQ(claim.outputs[0].payload->data, "answer");
  EXPECT_EQ(harness_.Phase(id), CallPhase::kClaimed);
  ASSERT_TRUE(harness_.Ack(id, 1, claim.outputs[0].fence).status.ok());

  EXPECT_EQ(harness_.Phase(id), CallPhase::kConsumed);
  ClaimResponse again = harness_.Claim(id, 2);
  ASSERT_EQ(again.ended.size(), 1);
  EXPECT_EQ(ReasonOf(again.ended[0].status), Reason::kOutputConsumed);
  EXPECT_EQ(ReasonOf(harness_.GetInput(id).status), Reason::kOutputConsumed);
}

TEST_F(CallStoreTest, PayloadsOfEverySizeComeBackEqualAlsoAfterARestart) {
  std::map<size_t, CallId> ids;
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{16'383}, size_t{16'384}, size_t{65'536}, size_t{65'537},
        size_t{1 << 20}, size_t{(1 << 20) + 1}, size_t{5 << 20}, size_t{63 << 20}}) {
    const CallId id = ids[size] = harness_.NewId();
    ASSERT_TRUE(harness_.PutInput(id, Pattern(size)).status.ok()) << size;
  }
  for (int round = 0; round < 2; ++round) {
    for (const auto& [size, id] : ids) {
      const InputResult input = harness_.GetInput(id);
      ASSERT_TRUE(input.status.ok()) << size << ": " << input.status;
      EXPECT_TRUE(input.payload->data == Pattern(size)) << size;
      EXPECT_EQ(input.size_bytes, size);
    }
    harness_.Reopen();
  }
}

TEST_F(CallStoreTest, MetadataIsKeptAndCountsAsContent) {
  const CallId id = harness_.NewId();
  const auto put = [&](const std::string& label) {
    NewPayload payload = MakePayload("data");
    payload.metadata.content_type = "text/plain";
    payload.metadata.labels = {{"name", label}};
    payload.metadata.encryption_key_id = "key-1";
    Awaited<std::vector<PutResult>> answer;
    harness_.store()->Put(harness_.tenant(),
                          {NewPut{.call_id = id, .payload = payload, .ttl_ms = 60'000}},
                          answer.callback());
    return answer.Get()[0].status;
  };
  ASSERT_TRUE(put("value").ok());
  EXPECT_TRUE(put("value").ok());
  EXPECT_EQ(ReasonOf(put("another")), Reason::kCallConflict);
  const InputResult input = harness_.GetInput(id);
  EXPECT_EQ(input.payload->metadata.content_type, "text/plain");
  EXPECT_EQ(input.payload->metadata.labels[0].second, "value");
  EXPECT_EQ(input.payload->metadata.encryption_key_id, "key-1");
}

TEST_F(CallStoreTest, APutIsIdempotentByContentAlsoAfterARestart) {
  const CallId id = harness_.NewId();
  const PutResult first = harness_.PutInput(id, "in");
  harness_.clock.Advance(absl::Seconds(10));
  const PutResult second = harness_.PutInput(id, "in");
  EXPECT_TRUE(second.status.ok());
  EXPECT_EQ(second.deadline_ms, first.deadline_ms);
  harness_.Reopen();
  EXPECT_TRUE(harness_.PutInput(id, "in").status.ok());
  EXPECT_EQ(ReasonOf(harness_.PutInput(id, "other").status), Reason::kCallConflict);
}

TEST_F(CallStoreTest, EqualPutsInOneBatchAreOneCall) {
  const CallId id = harness_.NewId();
  Awaited<std::vector<PutResult>> answer;
  harness_.store()->Put(harness_.tenant(),
                        {NewPut{.call_id = id, .payload = MakePayload("in"), .ttl_ms = 60'000},
                         NewPut{.call_id = id, .payload = MakePayload("in"), .ttl_ms = 60'000},
                         NewPut{.call_id = id, .payload = MakePayload("no"), .ttl_ms = 60'000}},
                        answer.callback());
  const std::vector<PutResult> results = answer.Get();
  EXPECT_TRUE(results[0].status.ok());
  EXPECT_TRUE(results[1].status.ok());
  EXPECT_EQ(ReasonOf(results[2].status), Reason::kCallConflict);
  EXPECT_EQ(harness_.GetInput(id).payload->data, "in");
}

TEST_F(CallStoreTest, ALaterAttemptReplacesAnOutputAlsoALargeOne) {
  const CallId id = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(id, "in").status.ok());
  ASSERT_TRUE(harness_.PutOutput(id, Pattern(3 << 20), 1).status.ok());
  ASSERT_TRUE(harness_.PutOutput(id, "second", 2).status.ok());
  EXPECT_EQ(ReasonOf(harness_.PutOutput(id, "first", 1).status), Reason::kStaleAttempt);
  const ClaimResponse claim = harness_.Claim(id, 1);
  EXPECT_EQ(claim.outputs.at(0).payload->data, "second");
  EXPECT_EQ(claim.outputs[0].stored.attempt, 2);
  EXPECT_EQ(ReasonOf(harness_.PutOutput(id, "third", 3).status), Reason::kOutputClaimed);
}

TEST_F(CallStoreTest, AnOutputWithoutInputIsRefused) {
  EXPECT_EQ(ReasonOf(harness_.PutOutput(harness_.NewId(), "out").status), Reason::kCallUnknown);
}

TEST_F(CallStoreTest, TwoTenantsEqualIdsAreTwoCalls) {
  const CallId id = harness_.NewId();
  Tenant* const other = harness_.tenant("other");
  ASSERT_TRUE(harness_.PutInput(id, "ours").status.ok());
  EXPECT_EQ(ReasonOf(harness_.GetInput(id, other).status), Reason::kCallUnknown);
  ASSERT_TRUE(harness_.PutInput(id, "theirs", absl::Hours(1), other).status.ok());
  EXPECT_EQ(harness_.GetInput(id).payload->data, "ours");
  EXPECT_EQ(harness_.GetInput(id, other).payload->data, "theirs");
}

TEST_F(CallStoreTest, ALongPollIsAnsweredWhenTheOutputComes) {
  const CallId id = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(id, "in").status.ok());
  ClaimRequest request = StoreHarness::MakeClaim({id}, 1);
  request.wait_ms = 55'000;
  Awaited<ClaimResponse> answer;
  harness_.store()->ClaimOutputs(harness_.tenant(), request, answer.callback());
  harness_.store()->Tick();
  EXPECT_FALSE(answer.is_answered());
  ASSERT_TRUE(harness_.PutOutput(id, "out").status.ok());
  EXPECT_EQ(answer.Get().outputs.at(0).payload->data, "out");
}

TEST_F(CallStoreTest, ALongPollThatFindsNothingIsOkAndEmpty) {
  const CallId id = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(id, "in").status.ok());
  ClaimRequest request = StoreHarness::MakeClaim({id}, 1);
  request.wait_ms = 5'000;
  Awaited<ClaimResponse> answer;
  harness_.store()->ClaimOutputs(harness_.tenant(), request, answer.callback());
  harness_.store()->Tick();
  harness_.clock.Advance(absl::Seconds(6));
  harness_.store()->Tick();
  const ClaimResponse response = answer.Get();
  EXPECT_TRUE(response.status.ok());
  EXPECT_TRUE(response.outputs.empty());
  EXPECT_EQ(response.pending_count, 1);
}

TEST_F(CallStoreTest, AResultThatIsNeitherPendingNorThereIsAnErrorAtOnce) {
  ClaimRequest request = StoreHarness::MakeClaim({harness_.NewId()}, 1);
  request.wait_ms = 55'000;
  EXPECT_EQ(ReasonOf(harness_.Claim(request).ended.at(0).status), Reason::kCallUnknown);
}

TEST_F(CallStoreTest, ADeleteEndsTheWaitForIt) {
  const CallId id = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(id, "in").status.ok());
  ClaimRequest request = StoreHarness::MakeClaim({id}, 1);
  request.wait_ms = 55'000;
  Awaited<ClaimResponse> answer;
  harness_.store()->ClaimOutputs(harness_.tenant(), request, answer.callback());
  harness_.store()->Tick();
  ASSERT_TRUE(harness_.Delete(id).status.ok());
  EXPECT_EQ(ReasonOf(answer.Get().ended.at(0).status), Reason::kCallDeleted);
}

TEST_F(CallStoreTest, AClaimThatLapsesIsClaimableAgainAndTheOldTokenCannotAck) {
  const CallId id = harness_.NewId();
  const ClaimedOutput first = Claimed(id, 1);
  EXPECT_EQ(harness_.Claim(id, 2).pending_count, 1);
  harness_.clock.Advance(absl::Seconds(31));
  const ClaimResponse second = harness_.Claim(id, 2);
  ASSERT_EQ(second.outputs.size(), 1);
  EXPECT_GT(second.outputs[0].fence, first.fence);
  EXPECT_EQ(ReasonOf(harness_.Ack(id, 1, first.fence).status), Reason::kClaimLost);
  EXPECT_TRUE(harness_.Ack(id, 2, second.outputs[0].fence).status.ok());
}

TEST_F(CallStoreTest, ALapsedClaimGoesToWhoWaitsForIt) {
  const CallId id = harness_.NewId();
  Claimed(id, 1);
  ClaimRequest request = StoreHarness::MakeClaim({id}, 2);
  request.wait_ms = 55'000;
  Awaited<ClaimResponse> answer;
  harness_.store()->ClaimOutputs(harness_.tenant(), request, answer.callback());
  harness_.store()->Tick();
  EXPECT_FALSE(answer.is_answered());
  harness_.clock.Advance(absl::Seconds(31));
  harness_.store()->Tick();
  EXPECT_EQ(answer.Get().outputs.at(0).payload->data, "out");
}

TEST_F(CallStoreTest, AReleasedOutputGoesToWhoWaitsForIt) {
  const CallId id = harness_.NewId();
  const ClaimedOutput first = Claimed(id, 1);
  ClaimRequest request = StoreHarness::MakeClaim({id}, 2);
  request.wait_ms = 55'000;
  Awaited<ClaimResponse> answer;
  harness_.store()->ClaimOutputs(harness_.tenant(), request, answer.callback());
  harness_.store()->Tick();
  ASSERT_TRUE(harness_.Release(id, 1, first.fence).ok());
  EXPECT_EQ(answer.Get().outputs.at(0).payload->data, "out");
}

TEST_F(CallStoreTest, ARenewedClaimOutlivesItsFirstLeaseUpToTheCap) {
  harness_.config.claims.lease_total_max = absl::Minutes(2);
  harness_.Reopen();
  const CallId id = harness_.NewId();
  const ClaimedOutput claim = Claimed(id, 1);
  for (int i = 0; i < 5; ++i) {
    harness_.clock.Advance(absl::Seconds(20));
    ASSERT_TRUE(harness_.Renew(id, 1, claim.fence, absl::Seconds(30)).status.ok());
  }
  harness_.store()->Tick();
  EXPECT_EQ(harness_.Phase(id), CallPhase::kClaimed);
  harness_.clock.Advance(absl::Seconds(20));
  EXPECT_EQ(ReasonOf(harness_.Renew(id, 1, claim.fence, absl::Seconds(30)).status),
            Reason::kClaimLost);
  EXPECT_EQ(harness_.Phase(id), CallPhase::kReady);
}

TEST_F(CallStoreTest, ACancelledPollGivesItsCallsUp) {
  const CallId id = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(id, "in").status.ok());
  ClaimRequest request = StoreHarness::MakeClaim({id}, 1);
  request.wait_ms = 55'000;
  Awaited<ClaimResponse> answer;
  auto handle = harness_.store()->ClaimOutputs(harness_.tenant(), request, answer.callback());
  handle->Cancel();
  EXPECT_TRUE(absl::IsCancelled(answer.Get().status));
  ASSERT_TRUE(harness_.PutOutput(id, "out").status.ok());
  EXPECT_EQ(harness_.Claim(id, 2).outputs.size(), 1);
}

TEST_F(CallStoreTest, AnAckIsIdempotentByItsTokenAcrossARestart) {
  const CallId id = harness_.NewId();
  const ClaimedOutput claim = Claimed(id, 1);
  const EndResult first = harness_.Ack(id, 1, claim.fence);
  ASSERT_TRUE(first.status.ok());
  harness_.clock.Advance(absl::Minutes(1));
  EXPECT_EQ(harness_.Ack(id, 1, claim.fence).ended_ms, first.ended_ms);
  harness_.Reopen();
  const EndResult third = harness_.Ack(id, 1, claim.fence);
  EXPECT_TRUE(third.status.ok());
  EXPECT_EQ(third.ended_ms, first.ended_ms);
  EXPECT_EQ(ReasonOf(harness_.Ack(id, 2, claim.fence).status), Reason::kOutputConsumed);
}

TEST_F(CallStoreTest, ARestartReleasesClaimsAndTheirFences) {
  const CallId id = harness_.NewId();
  const ClaimedOutput claim = Claimed(id, 1);
  harness_.Reopen();
  EXPECT_EQ(ReasonOf(harness_.Ack(id, 1, claim.fence).status), Reason::kClaimLost);
  const ClaimResponse again = harness_.Claim(id, 1);
  ASSERT_EQ(again.outputs.size(), 1);
  EXPECT_GT(again.outputs[0].fence, claim.fence);
  EXPECT_TRUE(harness_.Ack(id, 1, again.outputs[0].fence).status.ok());
}

TEST_F(CallStoreTest, AckBeforeAnswerHandsOutOnce) {
  const CallId id = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(id, "in").status.ok());
  ASSERT_TRUE(harness_.PutOutput(id, "out").status.ok());
  ClaimRequest request = StoreHarness::MakeClaim({id}, 1);
  request.ack_before_answer = true;
  const ClaimResponse response = harness_.Claim(request);
  ASSERT_EQ(response.outputs.size(), 1);
  EXPECT_TRUE(response.outputs[0].acked);
  EXPECT_EQ(response.outputs[0].payload->data, "out");
  EXPECT_EQ(harness_.Phase(id), CallPhase::kConsumed);
}

TEST_F(CallStoreTest, AnAckOfAnotherChecksumErasesNothing) {
  const CallId id = harness_.NewId();
  const ClaimedOutput claim = Claimed(id, 1);
  Awaited<std::vector<EndResult>> answer;
  harness_.store()->AckOutputs(harness_.tenant(), {ClaimRef{id, MakeToken(1), claim.fence, 7}},
                               answer.callback());
  EXPECT_EQ(ReasonOf(answer.Get()[0].status), Reason::kChecksumMismatch);
  EXPECT_EQ(harness_.Phase(id), CallPhase::kClaimed);
  Awaited<std::vector<EndResult>> right;
  harness_.store()->AckOutputs(
      harness_.tenant(), {ClaimRef{id, MakeToken(1), claim.fence, claim.payload->metadata.crc32c}},
      right.callback());
  EXPECT_TRUE(right.Get()[0].status.ok());
}

TEST_F(CallStoreTest, AnAckUnderAClaimThatSentNothingIsComparedWithWhatIsStored) {
  for (const size_t size_bytes : {size_t{1000}, size_t{3} << 20}) {
    const CallId id = harness_.NewId();
    ASSERT_TRUE(harness_.PutInput(id, "in").status.ok());
    ASSERT_TRUE(harness_.PutOutput(id, Pattern(size_bytes)).status.ok());
    ClaimRequest request = StoreHarness::MakeClaim({id}, 1);
    request.bytes_max = 1;
    const ClaimedOutput claim = harness_.Claim(request).outputs.at(0);
    ASSERT_FALSE(claim.payload.has_value());
    const uint32_t crc32c = Crc32c(AsBytes(Pattern(size_bytes)));
    Awaited<std::vector<EndResult>> wrong;
    harness_.store()->AckOutputs(
        harness_.tenant(), {ClaimRef{id, MakeToken(1), claim.fence, crc32c + 1}}, wrong.callback());
    EXPECT_EQ(ReasonOf(wrong.Get()[0].status), Reason::kChecksumMismatch);
    Awaited<std::vector<EndResult>> right;
    harness_.store()->AckOutputs(
        harness_.tenant(), {ClaimRef{id, MakeToken(1), claim.fence, crc32c}}, right.callback());
    EXPECT_EQ(right.Get()[0].status, absl::OkStatus());
  }
}

TEST_F(CallStoreTest, InputsThatDoNotFitComeWithTheirSizeOnlyEvenTheFirst) {
  std::vector<CallId> ids;
  for (const size_t bytes : {2001, 1000, 1001, 1000, 0}) {
    ids.push_back(harness_.NewId());
    ASSERT_TRUE(harness_.PutInput(ids.back(), Pattern(bytes)).status.ok());
  }
  Awaited<std::vector<InputResult>> answer;
  harness_.store()->GetInputs(harness_.tenant(), ids, /*bytes_max=*/2000, answer.callback());
  const std::vector<InputResult> inputs = answer.Get();
  std::vector<uint64_t> sizes;
  std::vector<bool> came;
  for (const InputResult& input : inputs) {
    EXPECT_TRUE(input.status.ok()) << input.status;
    sizes.push_back(input.size_bytes);
    came.push_back(input.payload.has_value());
  }
  EXPECT_THAT(sizes, ElementsAre(2001, 1000, 1001, 1000, 0));
  EXPECT_THAT(came, ElementsAre(false, true, false, true, true));
}

TEST_F(CallStoreTest, AClaimTakesNoMoreThanFitsAndAlwaysTheFirst) {
  std::vector<CallId> ids;
  for (int i = 0; i < 3; ++i) {
    ids.push_back(harness_.NewId());
    ASSERT_TRUE(harness_.PutInput(ids.back(), "in").status.ok());
    ASSERT_TRUE(harness_.PutOutput(ids.back(), Pattern(1000)).status.ok());
  }
  ClaimRequest request = StoreHarness::MakeClaim(ids, 1);
  request.bytes_max = 2000;
  ClaimResponse response = harness_.Claim(request);
  EXPECT_EQ(response.outputs.size(), 2);
  EXPECT_EQ(response.pending_count, 1);
  EXPECT_EQ(harness_.Phase(ids[2]), CallPhase::kReady);

  request = StoreHarness::MakeClaim({ids[2]}, 2);
  request.bytes_max = 999;
  response = harness_.Claim(request);
  ASSERT_EQ(response.outputs.size(), 1);
  EXPECT_FALSE(response.outputs[0].payload.has_value());
  EXPECT_EQ(response.outputs[0].stored.size_bytes, 1000);
}

TEST_F(CallStoreTest, OutstandingClaimsAreBoundedPerTenant) {
  harness_.config.claims.outstanding_max = 1;
  harness_.Reopen();
  const CallId first = harness_.NewId();
  const ClaimedOutput claim = Claimed(first, 1);
  const CallId second = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(second, "in").status.ok());
  ASSERT_TRUE(harness_.PutOutput(second, "out").status.ok());
  EXPECT_EQ(ReasonOf(harness_.Claim(second, 2).status), Reason::kQuotaClaims);
  ASSERT_TRUE(harness_.Ack(first, 1, claim.fence).status.ok());
  EXPECT_EQ(harness_.Claim(second, 2).outputs.size(), 1);
}

TEST_F(CallStoreTest, LiveCallsAndBytesAreBoundedPerTenantAcrossARestart) {
  harness_.config.limits.live_calls_max = 2;
  harness_.config.limits.live_bytes_max = 100;
  harness_.Reopen();
  const CallId first = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(first, Pattern(60)).status.ok());
  EXPECT_EQ(ReasonOf(harness_.PutInput(harness_.NewId(), Pattern(60)).status), Reason::kQuotaBytes);
  ASSERT_TRUE(harness_.PutInput(harness_.NewId(), "x").status.ok());
  harness_.Reopen();
  EXPECT_EQ(ReasonOf(harness_.PutInput(harness_.NewId(), "y").status), Reason::kQuotaCalls);
  ASSERT_TRUE(harness_.Delete(first).status.ok());
  EXPECT_TRUE(harness_.PutInput(harness_.NewId(), "y").status.ok());
  Tenant* const other = harness_.tenant("other");
  EXPECT_TRUE(harness_.PutInput(harness_.NewId(), "z", absl::Hours(1), other).status.ok());
}

TEST_F(CallStoreTest, ALateRetryCannotReviveAnEndedCall) {
  const CallId id = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(id, "in").status.ok());
  ASSERT_TRUE(harness_.Delete(id).status.ok());
  EXPECT_EQ(ReasonOf(harness_.PutInput(id, "in").status), Reason::kCallDeleted);
  harness_.clock.Advance(absl::Minutes(16));
  harness_.store()->Tick();
  EXPECT_EQ(harness_.Phase(id), CallPhase::kUnknown);
  EXPECT_EQ(ReasonOf(harness_.PutInput(id, "in").status), Reason::kIdOutsideWindow);
}

TEST_F(CallStoreTest, ADrainingStoreAnswersPollsAndTakesAcksOnly) {
  const CallId id = harness_.NewId();
  const ClaimedOutput claim = Claimed(id, 1);
  const CallId waiting = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(waiting, "in").status.ok());
  ClaimRequest request = StoreHarness::MakeClaim({waiting}, 2);
  request.wait_ms = 55'000;
  Awaited<ClaimResponse> answer;
  harness_.store()->ClaimOutputs(harness_.tenant(), request, answer.callback());
  harness_.store()->Tick();
  harness_.store()->Drain();
  EXPECT_TRUE(answer.Get().outputs.empty());
  EXPECT_EQ(ReasonOf(harness_.PutInput(harness_.NewId(), "in").status), Reason::kDraining);
  EXPECT_TRUE(harness_.Ack(id, 1, claim.fence).status.ok());
}

TEST_F(CallStoreTest, SeveralShardsServeOnePoll) {
  harness_.config.storage.shards = 4;
  harness_.Reopen();
  std::vector<CallId> ids;
  for (int i = 0; i < 20; ++i) {
    ids.push_back(harness_.NewId());
    ASSERT_TRUE(harness_.PutInput(ids.back(), "in").status.ok());
  }
  ClaimRequest request = StoreHarness::MakeClaim(ids, 1);
  request.wait_ms = 55'000;
  Awaited<ClaimResponse> first;
  harness_.store()->ClaimOutputs(harness_.tenant(), request, first.callback());
  ASSERT_TRUE(harness_.PutOutput(ids[7], "out").status.ok());
  EXPECT_EQ(first.Get().outputs.at(0).call_id, ids[7]);
  for (const CallId& id : ids) {
    if (id == ids[7]) continue;
    ASSERT_TRUE(harness_.PutOutput(id, "out").status.ok());
  }
  ClaimResponse rest = harness_.Claim(StoreHarness::MakeClaim(ids, 2));
  EXPECT_EQ(rest.outputs.size(), 19);
  EXPECT_EQ(rest.pending_count, 1);
  harness_.config.storage.shards = 1;
  harness_.Reopen();
  EXPECT_EQ(harness_.Claim(StoreHarness::MakeClaim(ids, 3)).outputs.size(), 20);
}

TEST_F(CallStoreTest, RelaxedDurabilityServesTheSameLife) {
  harness_.config.storage.durability = Config::Durability::kRelaxed;
  harness_.Reopen();
  const CallId id = harness_.NewId();
  const ClaimedOutput claim = Claimed(id, 1);
  ASSERT_TRUE(harness_.PutOutput(id, "out").status.ok());
  ASSERT_TRUE(harness_.Ack(id, 1, claim.fence).status.ok());
  harness_.Reopen();
  EXPECT_EQ(harness_.Phase(id), CallPhase::kConsumed);
}

}  // namespace
}  // namespace mayfly
