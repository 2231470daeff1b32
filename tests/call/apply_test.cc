// The rules of retrieval, one sentence each, for readers. table_test.cc checks every combination.
#include "call/apply.h"

#include <string>
#include <type_traits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "call/call_builder.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;

// Of values that are all 16 bytes none is taken for another.
static_assert(!std::is_convertible_v<ClaimToken, TokenHash>);
static_assert(!std::is_convertible_v<TokenHash, ClaimToken>);
static_assert(!std::is_convertible_v<UploadId, ClaimToken>);
static_assert(!std::is_convertible_v<Fingerprint, TokenHash>);

constexpr uint8_t kAnna = 1;
constexpr uint8_t kBert = 2;

// One call, its clock, and people who use it. Each step moves the state on.
class ApplyTest : public testing::Test {
 protected:
  OperationResult Do(const Operation& operation) {
    Applied applied = Apply(state_, operation, context_);
    state_ = applied.state;
    effects_ = applied.effects;
    return applied.result;
  }
  Reason ReasonFor(const Operation& operation) { return ReasonOf(Do(operation).status); }

  void Wait(int64_t ms) {
    context_.now.read_ms += ms;
    context_.now.steady_ms += ms;
    context_.now.elapsed_ms += ms;
    if (context_.now.erase_ms != Now::kNeverMs) context_.now.erase_ms += ms;
  }

  StoredPayload Payload(uint32_t attempt, int64_t ttl_ms) {
    const int64_t now_ms = context_.now.steady_ms;
    return PayloadAt(now_ms, now_ms + ttl_ms, ++generation_, attempt);
  }
  PutInput Input(const ContentComparer& content = kSameContent, int64_t ttl_ms = kHour) {
    return {.id_time_ms = kNow, .payload = Payload(0, ttl_ms), .content = &content};
  }
  PutOutput Output(uint32_t attempt, const ContentComparer& content = kSameContent,
                   int64_t ttl_ms = kHour) {
    return {.payload = Payload(attempt, ttl_ms), .content = &content};
  }
  ClaimOutput ClaimBy(uint8_t who, int64_t lease_ms = kLease) {
    return {TokenOf(who), HashOf(who), ++fence_, lease_ms};
  }
  AckOutput AckBy(uint8_t who, uint64_t fence) { return {TokenOf(who), HashOf(who), fence}; }

  uint64_t Claimed(uint8_t who) { return Do(ClaimBy(who)).claim.value().fence; }
  void MakePending() { ASSERT_TRUE(Do(Input()).status.ok()); }
  void MakeReady() {
    MakePending();
    ASSERT_TRUE(Do(Output(1)).status.ok());
  }
  void MakeConsumed() {
    MakeReady();
    ASSERT_TRUE(Do(AckBy(kAnna, Claimed(kAnna))).status.ok());
  }

  CallState state_;
  Effects effects_;
  ApplyContext context_ = ContextAt(kNow);
  uint64_t generation_ = 0;
  uint64_t fence_ = 0;
};

// ---- Puts

TEST_F(ApplyTest, AnInputPutTwiceIsStoredOnce) {
  const OperationResult first = Do(Input());
  EXPECT_EQ(effects_.store, PayloadKind::kInput);
  const OperationResult again = Do(Input());
  EXPECT_TRUE(again.status.ok());
  EXPECT_EQ(again.payload, first.payload);
  EXPECT_TRUE(effects_.empty());
}

TEST_F(ApplyTest, APutWhoseOwnTimeRanOutBeforeItsTurnStoresNothing) {
  const PutInput late = Input(kSameContent, kMinute);
  Wait(kMinute);
  EXPECT_EQ(ReasonFor(late), Reason::kCallExpired);
  EXPECT_EQ(state_, CallState{});
  MakeReady();
  const PutOutput late_attempt = Output(2, kSameContent, kMinute);
  Wait(kMinute);
  EXPECT_EQ(ReasonFor(late_attempt), Reason::kCallExpired);
  EXPECT_EQ(state_.output->attempt, 1);
}

TEST_F(ApplyTest, AnotherInputForTheSameCallIsAConflict) {
  MakePending();
  EXPECT_EQ(ReasonFor(Input(kOtherContent)), Reason::kCallConflict);
}

TEST_F(ApplyTest, AnIdFromOutsideTheWindowMakesNoCall) {
  Wait(5 * kMinute);
  EXPECT_TRUE(Apply(state_, Input(), context_).result.status.ok());
  Wait(1);
  EXPECT_EQ(ReasonFor(Input()), Reason::kIdOutsideWindow);
  EXPECT_EQ(state_, CallState{});
}

TEST_F(ApplyTest, AnIdFromOutsideTheWindowIsSaidToBeAheadOrBehind) {
  Wait(5 * kMinute + 1);
  absl::Status status = Apply(state_, Input(), context_).result.status;
  EXPECT_THAT(status.message(), HasSubstr("5m0.001s behind the server's clock, limit is 5m "));
  EXPECT_EQ(MetadataOf(status).at("value"), "-300001");
  EXPECT_EQ(MetadataOf(status).at("limit"), "300000");
  EXPECT_EQ(MetadataOf(status).at("unit"), "ms");
  Wait(-15 * kMinute);
  status = Apply(state_, Input(), context_).result.status;
  EXPECT_THAT(status.message(), HasSubstr("9m59.999s ahead of the server's clock"));
  EXPECT_EQ(MetadataOf(status).at("value"), "599999");
}

TEST_F(ApplyTest, ARetryIsOkThoughItsIdIsOlderThanTheWindowByNow) {
  MakePending();
  Wait(6 * kMinute);
  EXPECT_TRUE(Do(Input()).status.ok());
}

TEST_F(ApplyTest, NoLateRetryRevivesACallWhoseTombstoneIsGone) {
  MakeConsumed();
  Wait(context_.tombstone_ttl_ms);
  EXPECT_EQ(ReasonFor(Input()), Reason::kIdOutsideWindow);
}

// A call that ended under narrow settings, and wide ones that came into force before or after its
// tombstone went by the narrow ones.
TEST_F(ApplyTest, ATombstoneLastsAsLongAsTheSettingsOfNowSay) {
  for (const int64_t widened_after_ms : {int64_t{0}, 79 * kSecond, 81 * kSecond}) {
    context_ = ContextAt(kNow);
    context_.id_window_ms = 10 * kSecond;
    context_.tombstone_ttl_ms = 80 * kSecond;
    state_ = CallState();
    MakeConsumed();
    Wait(widened_after_ms);
    context_.id_window_ms = kHour;
    context_.tombstone_ttl_ms = 2 * kHour + kMinute;
    for (int minute = 0; minute < 3 * 60; ++minute) {
      const OperationResult put = Do(Input());
      EXPECT_FALSE(effects_.store) << minute << " minutes after, " << put.status;
      Wait(kMinute);
    }
  }
}

TEST_F(ApplyTest, ATombstoneLastsAsLongAsItSaysWhenTheSettingWasLowered) {
  MakeConsumed();
  context_.tombstone_ttl_ms = 80 * kSecond;
  context_.id_window_ms = 10 * kSecond;
  Wait(15 * kMinute - 1);
  EXPECT_EQ(ReasonFor(GetInput{}), Reason::kOutputConsumed);
  Wait(1);
  EXPECT_EQ(ReasonFor(GetInput{}), Reason::kCallUnknown);
}

TEST_F(ApplyTest, ATombstoneThatIsThereRefusesAPutHoweverOldItIs) {
  context_.now.steady_ms -= kHour;  // set back since the id was minted
  context_.now.read_ms = context_.now.steady_ms;
  state_.tombstone = Tombstone{.reason = EndReason::kDeleted,
                               .ended_ms = context_.now.steady_ms - kHour,
                               .forget_ms = context_.now.steady_ms - 45 * kMinute};
  const Tombstone tombstone = *state_.tombstone;
  Wait(kHour);
  EXPECT_EQ(ReasonFor(GetInput{}), Reason::kCallUnknown);
  state_.tombstone = tombstone;
  EXPECT_EQ(ReasonFor(Input()), Reason::kCallDeleted);
  state_.tombstone = tombstone;
  EXPECT_EQ(ReasonFor(FinishUpload{.put = Input()}), Reason::kCallDeleted);
}

TEST_F(ApplyTest, AnIdAtTheFloorIsOutsideTheWindow) {
  Wait(kMinute);
  context_.id_floor_ms = kNow;
  EXPECT_EQ(ReasonFor(Input()), Reason::kIdOutsideWindow);
  context_.id_floor_ms = kNow - 1;
  EXPECT_TRUE(Do(Input()).status.ok());
}

TEST_F(ApplyTest, AnUploadThatBeganInTheWindowMayEndOutsideIt) {
  PutInput put = Input(kSameContent, 24 * kHour);
  Wait(2 * kHour);
  EXPECT_EQ(ReasonFor(put), Reason::kIdOutsideWindow);
  EXPECT_TRUE(Do(FinishUpload{.put = put}).status.ok());
}

TEST_F(ApplyTest, AnUploadEndsWithItsCallAlsoWhenTheIdIsStillInTheWindow) {
  ASSERT_TRUE(Do(Input()).status.ok());
  const FinishUpload output{.put = Output(1), .call_has_ended = true};
  const FinishUpload input{.put = Input(), .call_has_ended = true};
  EXPECT_EQ(ReasonFor(output), Reason::kUploadUnknown) << "a later call's input";
  EXPECT_TRUE(Do(input).status.ok()) << "stored already";
  state_ = CallState();
  EXPECT_EQ(ReasonFor(input), Reason::kUploadUnknown);
  EXPECT_EQ(state_, CallState());
}

TEST_F(ApplyTest, APutThatCannotBeComparedIsNoConflict) {
  MakeReady();
  const CallState before = state_;
  const FixedAnswer unreadable(
      MakeError(absl::StatusCode::kUnavailable, Reason::kStorageDown, "not now"));
  EXPECT_EQ(ReasonFor(Input(unreadable)), Reason::kStorageDown);
  EXPECT_EQ(ReasonFor(Output(1, unreadable)), Reason::kStorageDown);
  EXPECT_EQ(ReasonFor(FinishUpload{.put = Output(1, unreadable)}), Reason::kStorageDown);
  EXPECT_EQ(ReasonFor(BeginUpload{.put = Input(unreadable), .content_is_known = true}),
            Reason::kStorageDown);
  EXPECT_EQ(state_, before);
}

TEST_F(ApplyTest, ALeaseLastsAsLongAsItSaysWhateverSteadyTimeDoes) {
  for (const int64_t jump_ms : {-kHour, 30 * kMinute}) {
    context_ = ContextAt(kNow);
    state_ = CallState();
    MakeReady();
    const uint64_t fence = Claimed(kAnna);
    context_.now.steady_ms += jump_ms;
    context_.now.read_ms = context_.now.steady_ms;
    Wait(kLease - 1);
    EXPECT_TRUE(Do(ClaimBy(kBert)).pending);
    const OperationResult again = Do(RenewClaim{TokenOf(kAnna), fence, kLease});
    EXPECT_EQ(again.lease_end_ms, context_.now.steady_ms + kLease) << "what clients are told";
    Wait(kLease);
    EXPECT_TRUE(Do(ClaimBy(kBert)).claim);
  }
}

TEST_F(ApplyTest, AnInputWhoseTimeIsOverIsNotPutAgainWhetherSweptOrNot) {
  ASSERT_TRUE(Do(Input(kSameContent, kMinute)).status.ok());
  ASSERT_TRUE(Do(Output(1)).status.ok());
  Wait(kMinute);
  EXPECT_EQ(ReasonFor(Input()), Reason::kCallExpired);
  Do(ExpirePayload{PayloadKind::kInput, state_.input->slot.generation});
  ASSERT_FALSE(state_.input);
  EXPECT_EQ(ReasonFor(Input()), Reason::kCallExpired);
}

TEST_F(ApplyTest, AnOutputNeedsAnInput) { EXPECT_EQ(ReasonFor(Output(1)), Reason::kCallUnknown); }

TEST_F(ApplyTest, AnOutputPutTwiceIsOkClaimedOrNot) {
  MakeReady();
  EXPECT_TRUE(Do(Output(1)).status.ok());
  Claimed(kAnna);
  EXPECT_TRUE(Do(Output(1)).status.ok());
  EXPECT_TRUE(effects_.empty());
}

TEST_F(ApplyTest, TheSameAttemptWithAnotherOutputIsAConflict) {
  MakeReady();
  EXPECT_EQ(ReasonFor(Output(1, kOtherContent)), Reason::kOutputConflict);
}

TEST_F(ApplyTest, AHigherAttemptReplacesAnOutputThatNobodyHolds) {
  MakeReady();
  const StoredPayload first = *state_.output;
  EXPECT_TRUE(Do(Output(2)).status.ok());
  EXPECT_EQ(effects_.remove_output, first);
  EXPECT_EQ(effects_.store, PayloadKind::kOutput);
  EXPECT_EQ(state_.output->attempt, 2u);
}

TEST_F(ApplyTest, ALowerAttemptIsStale) {
  MakePending();
  Do(Output(2));
  EXPECT_EQ(ReasonFor(Output(1)), Reason::kStaleAttempt);
}

TEST_F(ApplyTest, NoAttemptReplacesAnOutputUnderAClaim) {
  MakeReady();
  Claimed(kAnna);
  EXPECT_EQ(ReasonFor(Output(2)), Reason::kOutputClaimed);
  Wait(kLease);
  EXPECT_TRUE(Do(Output(2)).status.ok());
}

TEST_F(ApplyTest, PutsRetriedAfterTheCallWasConsumedAreOkAndStoreNothing) {
  MakeConsumed();
  EXPECT_TRUE(Do(Input()).status.ok());
  EXPECT_TRUE(Do(Output(1)).status.ok());
  EXPECT_TRUE(Do(Output(2, kOtherContent)).status.ok());
  EXPECT_TRUE(effects_.empty());
}

TEST_F(ApplyTest, PutsOverADeletedOrExpiredCallAreToldSo) {
  MakePending();
  Do(DeleteCall{});
  EXPECT_EQ(ReasonFor(Output(1)), Reason::kCallDeleted);
  state_ = CallState{};
  MakePending();
  Wait(kHour);
  EXPECT_EQ(ReasonFor(Output(1)), Reason::kCallExpired);
}

// ---- Claims

TEST_F(ApplyTest, OfTwoClaimsOneWins) {
  MakeReady();
  EXPECT_TRUE(Do(ClaimBy(kAnna)).claim);
  const OperationResult late = Do(ClaimBy(kBert));
  EXPECT_TRUE(late.pending);
  EXPECT_FALSE(late.payload);
}

TEST_F(ApplyTest, AClaimRepeatedWithItsTokenGetsTheSameOutputAndFence) {
  MakeReady();
  const OperationResult first = Do(ClaimBy(kAnna));
  Wait(10 * kSecond);
  const OperationResult again = Do(ClaimBy(kAnna));
  EXPECT_EQ(again.payload, first.payload);
  EXPECT_EQ(again.claim->fence, first.claim->fence);
  EXPECT_EQ(again.claim->lease_end_ms, first.claim->lease_end_ms + 10 * kSecond);
}

TEST_F(ApplyTest, AClaimThatArrivesLateTakesBackNoRenewal) {
  MakeReady();
  const uint64_t fence = Claimed(kAnna);
  const int64_t promised_ms =
      Do(RenewClaim{TokenOf(kAnna), fence, 10 * kMinute}).claim->lease_end_ms;
  EXPECT_EQ(Do(ClaimBy(kAnna)).claim->lease_end_ms, promised_ms);
}

TEST_F(ApplyTest, AClaimThatLapsedIsClaimableAgainAndTheOldTokenCannotAck) {
  MakeReady();
  const uint64_t annas = Claimed(kAnna);
  Wait(kLease);
  EXPECT_EQ(ReasonFor(AckBy(kAnna, annas)), Reason::kClaimLost);
  const uint64_t berts = Claimed(kBert);
  EXPECT_GT(berts, annas);
  EXPECT_EQ(ReasonFor(AckBy(kAnna, annas)), Reason::kClaimLost);
  EXPECT_TRUE(Do(AckBy(kBert, berts)).status.ok());
}

TEST_F(ApplyTest, AnOldFenceCannotAckUntilItsHolderClaimsAgain) {
  MakeReady();
  const uint64_t old_fence = Claimed(kAnna);
  Wait(kLease);
  const uint64_t fence = Claimed(kAnna);
  EXPECT_EQ(ReasonFor(AckBy(kAnna, old_fence)), Reason::kClaimLost);
  EXPECT_TRUE(Do(AckBy(kAnna, fence)).status.ok());
}

TEST_F(ApplyTest, AReleasedOutputCanBeClaimedAtOnce) {
  MakeReady();
  EXPECT_TRUE(Do(ReleaseOutput{TokenOf(kAnna), Claimed(kAnna)}).status.ok());
  EXPECT_TRUE(Do(ClaimBy(kBert)).claim);
}

TEST_F(ApplyTest, AReleaseOfAnAnswerLeavesAClaimThatAnotherTellsOf) {
  MakeReady();
  const uint64_t fence = Claimed(kAnna);
  ASSERT_EQ(Claimed(kAnna), fence);
  EXPECT_TRUE(Do(ReleaseOutput{TokenOf(kAnna), fence, /*if_used_once=*/true}).status.ok());
  EXPECT_TRUE(Do(ClaimBy(kBert)).pending);
  EXPECT_TRUE(Do(ReleaseOutput{TokenOf(kAnna), fence}).status.ok());
  const uint64_t second = Claimed(kAnna);
  EXPECT_TRUE(Do(ReleaseOutput{TokenOf(kAnna), second, /*if_used_once=*/true}).status.ok());
  EXPECT_TRUE(Do(ClaimBy(kBert)).claim);
}

TEST_F(ApplyTest, ALeaseEndsWithTheOutputAndWithTheTotalAtTheLatest) {
  MakePending();
  ASSERT_TRUE(Do(Output(1, kSameContent, 2 * kHour)).status.ok());
  const int64_t deadline_ms = state_.output->deadline_ms;
  const uint64_t fence = Claimed(kAnna);
  const RenewClaim renew{TokenOf(kAnna), fence, 3 * kHour};
  EXPECT_EQ(Do(renew).claim->lease_end_ms, kNow + kHour);
  context_.lease_total_max_ms = 24 * kHour;
  EXPECT_EQ(Do(renew).claim->lease_end_ms, deadline_ms);
}

TEST_F(ApplyTest, ADownloadStretchesALeaseBeyondTheTotalButNotBeyondTheDeadline) {
  MakePending();
  ASSERT_TRUE(Do(Output(1, kSameContent, 2 * kHour)).status.ok());
  const uint64_t fence = Claimed(kAnna);
  const RenewClaim renew{TokenOf(kAnna), fence, kHour + kMinute, /*by_download=*/true};
  EXPECT_EQ(Do(renew).claim->lease_end_ms, kNow + kHour + kMinute);
  const RenewClaim longer{TokenOf(kAnna), fence, 3 * kHour, /*by_download=*/true};
  EXPECT_EQ(Do(longer).claim->lease_end_ms, state_.output->deadline_ms);
}

TEST_F(ApplyTest, ALeaseEndsWithAMaxTtlThatWasLowered) {
  MakeReady();
  context_.max_ttl_ms = kSecond;
  EXPECT_EQ(Do(ClaimBy(kAnna)).claim->lease_end_ms, kNow + kSecond);
}

TEST_F(ApplyTest, ARenewalNeverShortens) {
  MakeReady();
  const uint64_t fence = Claimed(kAnna);
  EXPECT_EQ(Do(RenewClaim{TokenOf(kAnna), fence, 1}).claim->lease_end_ms, kNow + kLease);
}

TEST_F(ApplyTest, AClaimWithoutAnOutputIsPendingAndOneOfNothingIsUnknown) {
  EXPECT_EQ(ReasonFor(ClaimBy(kAnna)), Reason::kCallUnknown);
  MakePending();
  EXPECT_TRUE(Do(ClaimBy(kAnna)).pending);
  EXPECT_EQ(ReasonFor(AckBy(kAnna, 1)), Reason::kOutputPending);
}

// ---- Ends

TEST_F(ApplyTest, AnAckErasesInputAndOutputAndLeavesATombstone) {
  MakeReady();
  const StoredPayload input = *state_.input;
  const StoredPayload output = *state_.output;
  ASSERT_TRUE(Do(AckBy(kAnna, Claimed(kAnna))).status.ok());
  EXPECT_EQ(effects_.remove_input, input);
  EXPECT_EQ(effects_.remove_output, output);
  EXPECT_EQ(effects_.tombstone->input, input.slot);
  EXPECT_EQ(effects_.tombstone->output, output.slot);
  EXPECT_EQ(ReasonFor(GetInput{}), Reason::kOutputConsumed);
  EXPECT_EQ(ReasonFor(ClaimBy(kAnna)), Reason::kOutputConsumed);
}

TEST_F(ApplyTest, AckingTwiceReturnsTheSameAnswerAndAnotherTokenNone) {
  MakeConsumed();
  const int64_t ended_ms = state_.tombstone->ended_ms;
  Wait(kMinute);
  EXPECT_EQ(Do(AckBy(kAnna, 99)).ended_ms, ended_ms);
  EXPECT_EQ(ReasonFor(AckBy(kBert, 99)), Reason::kOutputConsumed);
  Wait(context_.tombstone_ttl_ms);
  EXPECT_EQ(ReasonFor(AckBy(kAnna, 99)), Reason::kCallUnknown);
}

TEST_F(ApplyTest, ADeletedCallIsDeletedInAnyStateAndOnlyOnce) {
  MakeReady();
  Claimed(kAnna);
  const int64_t ended_ms = Do(DeleteCall{}).ended_ms;
  EXPECT_TRUE(effects_.remove_input && effects_.remove_output && effects_.tombstone);
  Wait(kMinute);
  EXPECT_EQ(Do(DeleteCall{}).ended_ms, ended_ms);
  EXPECT_EQ(ReasonFor(AckBy(kAnna, fence_)), Reason::kCallDeleted);
}

TEST_F(ApplyTest, AnInputStaysReadableUntilTheOutputIsAcked) {
  MakeReady();
  const uint64_t fence = Claimed(kAnna);
  EXPECT_TRUE(Do(GetInput{}).payload);
  Do(AckBy(kAnna, fence));
  EXPECT_EQ(ReasonFor(GetInput{}), Reason::kOutputConsumed);
}

TEST_F(ApplyTest, NothingIsReadableAtItsDeadlineThoughTheSweepIsLate) {
  MakeReady();
  Wait(kHour - 1);
  EXPECT_TRUE(Do(GetInput{}).status.ok());
  Wait(1);
  EXPECT_EQ(ReasonFor(GetInput{}), Reason::kCallExpired);
  EXPECT_EQ(ReasonFor(ClaimBy(kAnna)), Reason::kCallExpired);
}

TEST_F(ApplyTest, OneClockIsEnoughToRefuseAndBothAreNeededToDestroy) {
  MakePending();
  const ExpirePayload expire{PayloadKind::kInput, state_.input->slot.generation};
  context_.now.read_ms += kHour;
  EXPECT_EQ(ReasonFor(GetInput{}), Reason::kCallExpired);
  Do(expire);
  EXPECT_TRUE(effects_.empty());
  context_.now.erase_ms += kHour;
  Do(expire);
  EXPECT_TRUE(effects_.tombstone);
}

TEST_F(ApplyTest, AClockThatIsNotTrustedDestroysNothingNotEvenWhatIsDeadBefore) {
  MakePending();
  context_.now.erase_ms = Now::kNeverMs;
  context_.dead_before_ms = kNow;
  EXPECT_EQ(ReasonFor(GetInput{}), Reason::kCallExpired);
  Do(ExpirePayload{PayloadKind::kInput, state_.input->slot.generation});
  EXPECT_TRUE(effects_.empty());
}

TEST_F(ApplyTest, DescribingTellsThePhase) {
  EXPECT_EQ(Do(DescribeCall{}).phase, CallPhase::kUnknown);
  MakePending();
  EXPECT_EQ(Do(DescribeCall{}).phase, CallPhase::kPending);
  Do(Output(1));
  EXPECT_EQ(Do(DescribeCall{}).phase, CallPhase::kReady);
  const uint64_t fence = Claimed(kAnna);
  EXPECT_EQ(Do(DescribeCall{}).phase, CallPhase::kClaimed);
  Do(AckBy(kAnna, fence));
  EXPECT_EQ(Do(DescribeCall{}).phase, CallPhase::kConsumed);
}

TEST_F(ApplyTest, DescribingTellsWhenTheLeaseEndsAndWhenTheCallEnded) {
  MakeReady();
  EXPECT_EQ(Do(DescribeCall{}).lease_end_ms, 0);
  const uint64_t fence = Claimed(kAnna);
  const int64_t lease_end_ms = Do(DescribeCall{}).lease_end_ms;
  EXPECT_GT(lease_end_ms, context_.now.steady_ms);
  Wait(1);
  EXPECT_EQ(Do(DescribeCall{}).lease_end_ms, lease_end_ms);
  EXPECT_EQ(Do(DescribeCall{}).ended_ms, 0);
  const int64_t ended_ms = Do(AckBy(kAnna, fence)).ended_ms;
  Wait(kMinute);
  EXPECT_EQ(Do(DescribeCall{}).ended_ms, ended_ms);
  EXPECT_EQ(Do(DescribeCall{}).lease_end_ms, 0);
}

TEST_F(ApplyTest, ACallThatIsNotSweptYetEndedAtItsDeadline) {
  MakePending();
  const int64_t deadline_ms = state_.input->deadline_ms;
  Wait(25 * kHour);
  EXPECT_EQ(Apply(state_, DescribeCall{}, context_).result.ended_ms, deadline_ms);
}

// ---- What an ack says of what was received

TEST_F(ApplyTest, AnAckThatNamesAChecksumMustNameThatOfWhatWasSent) {
  MakeReady();
  AckOutput ack = AckBy(kAnna, Claimed(kAnna));
  state_.claim->crc32c = 7;
  ack.crc32c = 8;
  EXPECT_EQ(ReasonOf(Do(ack).status), Reason::kChecksumMismatch);
  EXPECT_TRUE(state_.output.has_value());
  ack.crc32c = 7;
  EXPECT_TRUE(Do(ack).status.ok());
  // Repeated, it is the same ack, whatever it says: there is nothing left to compare with.
  ack.crc32c = 8;
  EXPECT_TRUE(Do(ack).status.ok());
}

TEST_F(ApplyTest, AnAckCannotNameTheChecksumOfWhatWasNeverSent) {
  MakeReady();
  AckOutput ack = AckBy(kAnna, Claimed(kAnna));
  ack.crc32c = 0;
  EXPECT_EQ(ReasonOf(Do(ack).status), Reason::kChecksumMismatch);
  ack.crc32c.reset();
  EXPECT_TRUE(Do(ack).status.ok());
}

// ---- Damage

TEST_F(ApplyTest, DamagedPayloadsAreToldAndNeverTakenForAbsent) {
  MakePending();
  state_.input->damaged = true;
  EXPECT_EQ(Do(GetInput{}).status.code(), absl::StatusCode::kDataLoss);
  for (const FixedAnswer* content : {&kSameContent, &kOtherContent}) {
    EXPECT_EQ(Do(Input(*content)).status.code(), absl::StatusCode::kDataLoss);
    EXPECT_TRUE(effects_.empty());
  }
  // Its worker may have it already.
  ASSERT_TRUE(Do(Output(1)).status.ok());
  state_.output->damaged = true;
  EXPECT_EQ(ReasonFor(ClaimBy(kAnna)), Reason::kAuthenticationFailed);
  EXPECT_EQ(Do(Output(1)).status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(effects_.empty());
}

TEST_F(ApplyTest, AHigherAttemptTakesADamagedOutputsPlace) {
  MakeReady();
  state_.output->damaged = true;
  ASSERT_TRUE(Do(Output(2)).status.ok());
  EXPECT_TRUE(effects_.remove_output->damaged);
  EXPECT_TRUE(Do(ClaimBy(kAnna)).status.ok());
}

TEST_F(ApplyTest, DamagedPayloadsEndAsOthersDo) {
  MakeReady();
  const uint64_t fence = Claimed(kAnna);
  state_.output->damaged = state_.input->damaged = true;
  const CallState damaged = state_;
  EXPECT_TRUE(Do(AckBy(kAnna, fence)).status.ok());
  EXPECT_TRUE(effects_.remove_output && effects_.remove_input && effects_.tombstone);
  state_ = damaged;
  EXPECT_TRUE(Do(DeleteCall{}).status.ok());
  EXPECT_TRUE(effects_.tombstone);
  state_ = damaged;
  Wait(kHour);
  EXPECT_EQ(ReasonFor(GetInput{}), Reason::kCallExpired);
  Do(ExpirePayload{.kind = PayloadKind::kOutput, .generation = state_.output->slot.generation});
  EXPECT_TRUE(effects_.tombstone);
}

}  // namespace
}  // namespace mayfly
