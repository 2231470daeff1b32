// Every state of a call, with every relation of the two clocks and every request: the answers of
// call/apply.cc equal those of call/spec.cc, and forbidden results never occur.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "call/apply.h"
#include "call/call_builder.h"
#include "call/spec.h"

namespace mayfly {
namespace {

using spec::Answer;
using spec::CodeOf;
using spec::Expected;
using spec::ExpectedFinish;
using spec::ExpectedSweep;
using spec::NameOf;
using spec::PhaseOf;
using spec::ReasonOfAnswer;
using spec::Request;
using spec::Situation;
using spec::Story;
using spec::SweepAnswer;

constexpr uint8_t kMyself = 1;
constexpr uint8_t kSomebody = 2;
constexpr uint64_t kMyFence = 70;
constexpr uint64_t kMyOldFence = 60;
constexpr uint64_t kNewFence = 80;
constexpr uint32_t kStoredAttempt = 5;
constexpr uint64_t kInputGeneration = 101;
constexpr uint64_t kOutputGeneration = 202;
constexpr uint64_t kNewGeneration = 303;
constexpr int64_t kClocksApart = kMinute;
// How long the process has run: leases are counted on it, and it is no time of day.
constexpr int64_t kElapsed = 5 * kHour;

// How the two clocks stand. The later of them always reads kNow.
enum class Clocks { kAgree, kWallAhead, kWallBehind, kUntrusted, kCount };

// The state of a payload. Boundaries are exact: a millisecond earlier it would be readable.
enum class Life {
  kNone,
  kReadable,
  kLastMillisecond,
  kPastLater,    // its deadline is now on the later clock
  kPastEarlier,  // its deadline is now on the earlier clock too
  kTtlPastLater,
  kTtlPastEarlier,
  kDeadBefore,  // stored at the tenant's dead_before
  kErased,
  kCount,
};

enum class Holder { kNobody, kMine, kMineOldFence, kOther, kLapsed, kCount };

enum class Grave { kConsumedByMe, kConsumedByOther, kDeleted, kExpired, kForgotten, kCount };

bool IsReadableLife(Life life) { return life == Life::kReadable || life == Life::kLastMillisecond; }

// `some_dead`: the tenant's dead_before is recent, so that what is past max_ttl is before it too.
bool IsErasableLife(Life life, Clocks clocks, bool some_dead) {
  switch (life) {
    case Life::kNone:
    case Life::kReadable:
    case Life::kLastMillisecond:
      return false;
    case Life::kErased:
      return true;
    case Life::kPastLater:
      return clocks == Clocks::kAgree;
    case Life::kTtlPastLater:
      return clocks == Clocks::kAgree || (some_dead && clocks != Clocks::kUntrusted);
    default:
      // After a boot nothing is destroyed before the clock can be trusted.
      return clocks != Clocks::kUntrusted;
  }
}

std::optional<StoredPayload> PayloadOf(Life life, uint64_t generation, uint32_t attempt) {
  if (life == Life::kNone) return std::nullopt;
  StoredPayload payload = PayloadAt(kNow - kHour, kNow + kHour, generation, attempt);
  if (life == Life::kLastMillisecond) payload.deadline_ms = kNow + 1;
  if (life == Life::kPastLater) payload.deadline_ms = kNow;
  if (life == Life::kPastEarlier) payload.deadline_ms = kNow - kClocksApart;
  if (life == Life::kTtlPastLater) payload.stored_ms = kNow - 24 * kHour;
  if (life == Life::kTtlPastEarlier) payload.stored_ms = kNow - 24 * kHour - kClocksApart;
  if (life == Life::kDeadBefore) payload.stored_ms = kNow - 2 * kHour;
  if (life == Life::kErased) payload.erased = true;
  return payload;
}

struct Case {
  Clocks clocks = Clocks::kAgree;
  Life input = Life::kNone;
  Life output = Life::kNone;
  Holder holder = Holder::kNobody;
  std::optional<Grave> grave;

  bool SomeDead() const { return input == Life::kDeadBefore || output == Life::kDeadBefore; }
  std::string Text() const {
    return absl::StrCat("clocks ", static_cast<int>(clocks), ", input ", static_cast<int>(input),
                        ", output ", static_cast<int>(output), ", holder ",
                        static_cast<int>(holder), ", grave ",
                        grave ? static_cast<int>(*grave) : -1);
  }
};

ApplyContext ContextOf(const Case& c) {
  ApplyContext context = ContextAt(kNow);
  if (c.clocks != Clocks::kAgree) context.now.erase_ms = kNow - kClocksApart;
  if (c.clocks == Clocks::kWallAhead) context.now.steady_ms = kNow - kClocksApart;
  context.now.elapsed_ms = kElapsed;
  if (c.clocks == Clocks::kUntrusted) context.now.erase_ms = Now::kNeverMs;
  context.dead_before_ms = c.SomeDead() ? kNow - 2 * kHour : kNow - 48 * kHour;
  return context;
}

CallState StateOf(const Case& c) {
  const int64_t steady_ms = ContextOf(c).now.steady_ms;
  CallState state;
  state.input = PayloadOf(c.input, kInputGeneration, 0);
  state.output = PayloadOf(c.output, kOutputGeneration, kStoredAttempt);
  if (c.holder != Holder::kNobody) {
    const uint8_t holder = c.holder == Holder::kOther ? kSomebody : kMyself;
    state.claim = Claim{.token = TokenOf(holder),
                        .token_hash = HashOf(holder),
                        .fence = kMyFence,
                        .claimed_ms = kElapsed - 10 * kSecond,
                        .lease_end_ms = c.holder == Holder::kLapsed ? kElapsed : kElapsed + 1};
  }
  if (!c.grave) return state;
  const EndReason reason = *c.grave == Grave::kDeleted   ? EndReason::kDeleted
                           : *c.grave == Grave::kExpired ? EndReason::kExpired
                                                         : EndReason::kConsumed;
  state.tombstone = Tombstone{.reason = reason,
                              .ended_ms = steady_ms - 15 * kMinute,
                              .forget_ms = steady_ms + (*c.grave == Grave::kForgotten ? 0 : 1),
                              .token = {},
                              .input = {1, kInputGeneration},
                              .output = {2, kOutputGeneration}};
  if (reason == EndReason::kConsumed) {
    state.tombstone->token = HashOf(*c.grave == Grave::kConsumedByOther ? kSomebody : kMyself);
  }
  return state;
}

Story StoryOf(const Case& c) {
  if (c.grave) {
    switch (*c.grave) {
      case Grave::kConsumedByMe:
        return Story::kConsumedByMe;
      case Grave::kConsumedByOther:
        return Story::kConsumedByOther;
      case Grave::kDeleted:
        return Story::kDeleted;
      case Grave::kExpired:
        return Story::kExpired;
      default:
        return Story::kNever;
    }
  }
  if (c.output == Life::kNone) {
    if (c.input == Life::kNone) return Story::kNever;
    return IsReadableLife(c.input) ? Story::kPending : Story::kExpired;
  }
  if (!IsReadableLife(c.output)) return Story::kExpired;
  switch (c.holder) {
    case Holder::kMine:
      return Story::kClaimedByMe;
    case Holder::kMineOldFence:
      return Story::kClaimedMyOld;
    case Holder::kOther:
      return Story::kClaimedByOther;
    default:
      return Story::kReady;
  }
}

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (int clocks = 0; clocks < static_cast<int>(Clocks::kCount); ++clocks) {
    for (int grave = 0; grave < static_cast<int>(Grave::kCount); ++grave) {
      cases.push_back({.clocks = static_cast<Clocks>(clocks), .grave = static_cast<Grave>(grave)});
    }
    for (int input = 0; input < static_cast<int>(Life::kCount); ++input) {
      for (int output = 0; output < static_cast<int>(Life::kCount); ++output) {
        for (int holder = 0; holder < static_cast<int>(Holder::kCount); ++holder) {
          const Case c{.clocks = static_cast<Clocks>(clocks),
                       .input = static_cast<Life>(input),
                       .output = static_cast<Life>(output),
                       .holder = static_cast<Holder>(holder),
                       .grave = std::nullopt};
          if (c.output != Life::kNone || c.holder == Holder::kNobody) cases.push_back(c);
        }
      }
    }
  }
  return cases;
}

Put PutOf(const Operation& operation) {
  if (const auto* input = std::get_if<PutInput>(&operation)) return *input;
  return std::get<PutOutput>(operation);
}

Operation OperationOf(Request request, const Case& c) {
  const int64_t steady_ms = ContextOf(c).now.steady_ms;
  const auto put_input = [&](const ContentComparer& content, int64_t id_time_ms) {
    return PutInput{.id_time_ms = id_time_ms,
                    .payload = PayloadAt(steady_ms, kNow + kHour, kNewGeneration),
                    .content = &content};
  };
  const auto put_output = [&](const ContentComparer& content, uint32_t attempt) {
    return PutOutput{.payload = PayloadAt(steady_ms, kNow + kHour, kNewGeneration, attempt),
                     .content = &content};
  };
  const uint64_t my_fence = c.holder == Holder::kMineOldFence ? kMyOldFence : kMyFence;
  switch (request) {
    case Request::kPutInputSame:
      return put_input(kSameContent, steady_ms - 5 * kMinute);
    case Request::kPutInputOther:
      return put_input(kOtherContent, steady_ms + 5 * kMinute);
    case Request::kPutInputSameOutsideWindow:
      return put_input(kSameContent, steady_ms - 5 * kMinute - 1);
    case Request::kPutInputOtherOutsideWindow:
      return put_input(kOtherContent, steady_ms + 5 * kMinute + 1);
    case Request::kGetInput:
      return GetInput{};
    case Request::kPutOutputLower:
      return put_output(kSameContent, kStoredAttempt - 1);
    case Request::kPutOutputEqualSame:
      return put_output(kSameContent, kStoredAttempt);
    case Request::kPutOutputEqualOther:
      return put_output(kOtherContent, kStoredAttempt);
    case Request::kPutOutputHigher:
      return put_output(kSameContent, kStoredAttempt + 1);
    case Request::kClaim:
      return ClaimOutput{TokenOf(kMyself), HashOf(kMyself), kNewFence, kLease};
    case Request::kAck:
      return AckOutput{TokenOf(kMyself), HashOf(kMyself), my_fence};
    case Request::kRelease:
      return ReleaseOutput{TokenOf(kMyself), my_fence};
    case Request::kRenew:
      return RenewClaim{TokenOf(kMyself), my_fence, kLease};
    case Request::kDescribe:
      return DescribeCall{};
    default:
      return DeleteCall{};
  }
}

// The state after the passing of time, before any request is processed.
CallState AfterTime(const Case& c) {
  CallState state = StateOf(c);
  if (c.holder == Holder::kLapsed) state.claim.reset();
  if (c.grave == Grave::kForgotten) state.tombstone.reset();
  return state;
}

Tombstone GraveOf(const CallState& before, EndReason reason, TokenHash token, int64_t steady_ms) {
  Tombstone tombstone{.reason = reason,
                      .ended_ms = steady_ms,
                      .forget_ms = steady_ms + 15 * kMinute,
                      .token = token,
                      .input = {},
                      .output = {}};
  if (before.input) tombstone.input = before.input->slot;
  if (before.output) tombstone.output = before.output->slot;
  return tombstone;
}

// The state and the effects that an answer stands for. What a request may change is written out
// here once; everything that is not mentioned stays as it was.
struct Outcome {
  CallState state;
  Effects effects;
};

void EndIn(Outcome& outcome, EndReason reason, TokenHash token, int64_t steady_ms) {
  const Tombstone tombstone = GraveOf(outcome.state, reason, token, steady_ms);
  outcome.effects.remove_input = outcome.state.input;
  outcome.effects.remove_output = outcome.state.output;
  outcome.effects.tombstone = tombstone;
  outcome.state = CallState{};
  outcome.state.tombstone = tombstone;
}

Outcome OutcomeOf(Answer answer, const Operation& operation, const Case& c) {
  const int64_t steady_ms = ContextOf(c).now.steady_ms;
  Outcome outcome{.state = AfterTime(c), .effects = {}};
  CallState& state = outcome.state;
  const auto lease_end_ms = [&] {
    return kElapsed + std::min(kLease, state.output->deadline_ms - steady_ms);
  };
  if (answer == Answer::kStored || answer == Answer::kReplaced) {
    if (const auto* put = std::get_if<PutInput>(&operation)) {
      outcome.effects.store = PayloadKind::kInput;
      state.input = put->payload;
    } else {
      outcome.effects.store = PayloadKind::kOutput;
      outcome.effects.remove_output = state.output;
      state.output = std::get<PutOutput>(operation).payload;
    }
  } else if (answer == Answer::kClaimed) {
    state.claim = Claim{.token = TokenOf(kMyself),
                        .token_hash = HashOf(kMyself),
                        .fence = kNewFence,
                        .claimed_ms = kElapsed,
                        .lease_end_ms = lease_end_ms()};
  } else if (answer == Answer::kReclaimed || answer == Answer::kRenewed) {
    state.claim->lease_end_ms = lease_end_ms();
    ++state.claim->uses;
  } else if (answer == Answer::kReleased) {
    state.claim.reset();
  } else if (answer == Answer::kAcked) {
    EndIn(outcome, EndReason::kConsumed, HashOf(kMyself), steady_ms);
  } else if (answer == Answer::kDeletedNow) {
    EndIn(outcome, EndReason::kDeleted, TokenHash{}, steady_ms);
  }
  return outcome;
}

void ExpectSameEffects(const Effects& actual, const Effects& expected) {
  EXPECT_EQ(actual.store, expected.store);
  EXPECT_EQ(actual.remove_input, expected.remove_input);
  EXPECT_EQ(actual.remove_output, expected.remove_output);
  EXPECT_EQ(actual.tombstone, expected.tombstone);
}

bool IsEndedPhase(CallPhase phase) {
  return phase == CallPhase::kConsumed || phase == CallPhase::kDeleted ||
         phase == CallPhase::kExpired;
}

// Of a call that has ended. Without a tombstone its deadline has ended it, or a lowered max_ttl.
int64_t EndedMs(const CallState& state, const Case& c) {
  if (state.tombstone) return state.tombstone->ended_ms;
  const std::optional<StoredPayload>& payload = state.output ? state.output : state.input;
  const ApplyContext context = ContextOf(c);
  return std::min(
      {payload->deadline_ms, payload->stored_ms + context.max_ttl_ms, context.now.steady_ms});
}

// Checks the result for the caller, beyond the status.
void ExpectTold(Answer answer, const OperationResult& result, const Outcome& outcome, const Case& c,
                bool concerns_input) {
  const CallState& after = outcome.state;
  std::optional<StoredPayload> payload;
  if (answer == Answer::kStored || answer == Answer::kReplaced || answer == Answer::kAgain ||
      answer == Answer::kGiven) {
    payload = concerns_input ? after.input : after.output;
  }
  const bool has_claim =
      answer == Answer::kClaimed || answer == Answer::kReclaimed || answer == Answer::kRenewed;
  if (has_claim) payload = after.output;
  EXPECT_EQ(result.payload, payload);
  EXPECT_EQ(result.claim, has_claim ? after.claim : std::nullopt);
  EXPECT_EQ(result.pending, answer == Answer::kNothingYet);
  const bool told_ended = answer == Answer::kTold && IsEndedPhase(PhaseOf(StoryOf(c)));
  const bool ends = told_ended || answer == Answer::kAcked || answer == Answer::kAckedBefore ||
                    answer == Answer::kDeletedNow || answer == Answer::kDeletedBefore;
  EXPECT_EQ(result.ended_ms, ends ? EndedMs(after, c) : 0);
  if (answer != Answer::kTold) return;
  const Story story = StoryOf(c);
  EXPECT_EQ(result.phase, PhaseOf(story));
  EXPECT_EQ(result.lease_end_ms != 0, result.phase == CallPhase::kClaimed);
  const bool alive = story >= Story::kPending;
  EXPECT_EQ(result.input, alive && IsReadableLife(c.input) ? after.input : std::nullopt);
  EXPECT_EQ(result.output, alive ? after.output : std::nullopt);
}

// Checks the invariants that hold after every request, rejected or not.
void ExpectInvariants(const Applied& applied, const Case& c) {
  const CallState& state = applied.state;
  const Effects& effects = applied.effects;
  const CallState before = AfterTime(c);
  if (!applied.result.status.ok()) {
    EXPECT_EQ(state, before);
    EXPECT_TRUE(effects.empty());
  }
  EXPECT_FALSE(state.tombstone && (state.input || state.output)) << "rows beside a tombstone";
  EXPECT_FALSE(state.claim && !state.output) << "a claim on nothing";
  EXPECT_FALSE(effects.store && effects.tombstone) << "stored and ended at once";
  if (effects.remove_input) {
    EXPECT_EQ(effects.remove_input, before.input);
    const bool input_only = !effects.tombstone && !effects.store && state.output;
    EXPECT_TRUE(effects.tombstone || input_only) << "an input lost without a trace";
  }
  if (effects.remove_output) {
    EXPECT_EQ(effects.remove_output, before.output);
    EXPECT_TRUE(effects.tombstone || effects.store == PayloadKind::kOutput);
  }
  if (effects.tombstone) {
    EXPECT_EQ(effects.tombstone->input, before.input ? before.input->slot : SlotRef{});
    EXPECT_EQ(effects.tombstone->output, before.output ? before.output->slot : SlotRef{});
    EXPECT_EQ(effects.tombstone, state.tombstone);
    EXPECT_FALSE(state.claim);
  }
  if (state.claim && state.claim != before.claim) {
    const int64_t left_ms = state.output->deadline_ms - ContextOf(c).now.steady_ms;
    EXPECT_LE(state.claim->lease_end_ms, kElapsed + left_ms);
    EXPECT_LE(state.claim->lease_end_ms, state.claim->claimed_ms + kHour);
    EXPECT_GT(state.claim->lease_end_ms, kElapsed);
  }
}

TEST(CallTable, EveryRequestInEveryStateIsAnsweredAsTheSpecificationSays) {
  int checked = 0;
  for (const Case& c : AllCases()) {
    for (int row = 0; row < static_cast<int>(Request::kCount); ++row) {
      const auto request = static_cast<Request>(row);
      const Situation situation{.story = StoryOf(c),
                                .input_readable = IsReadableLife(c.input),
                                .has_old_tombstone = c.grave == Grave::kForgotten};
      SCOPED_TRACE(absl::StrCat(NameOf(request), " | ", NameOf(situation.story), " | ", c.Text()));
      const Operation operation = OperationOf(request, c);
      const Applied applied = Apply(StateOf(c), operation, ContextOf(c));
      const Answer answer = Expected(request, situation);
      const Outcome outcome = OutcomeOf(answer, operation, c);
      EXPECT_EQ(applied.result.status.code(), CodeOf(answer)) << applied.result.status;
      EXPECT_EQ(ReasonOf(applied.result.status), ReasonOfAnswer(answer));
      EXPECT_EQ(applied.state, outcome.state);
      ExpectSameEffects(applied.effects, outcome.effects);
      ExpectTold(answer, applied.result, outcome, c, request <= Request::kGetInput);
      ExpectInvariants(applied, c);
      ++checked;
      if (testing::Test::HasFailure()) FAIL() << "the first difference stops the table";
    }
  }
  EXPECT_GT(checked, 15'000);
}

// An upload is wanted where its put would be stored, and refused where the put would be; where the
// put depends on the content, it is wanted until the content is known. It changes nothing.
TEST(CallTable, AnUploadBeginsInEveryStateThatItsPutMayBeStoredIn) {
  int checked = 0;
  for (const Case& c : AllCases()) {
    for (int row = 0; row < static_cast<int>(Request::kClaim); ++row) {
      const auto request = static_cast<Request>(row);
      if (request == Request::kGetInput) continue;
      const Situation situation{.story = StoryOf(c),
                                .input_readable = IsReadableLife(c.input),
                                .has_old_tombstone = c.grave == Grave::kForgotten};
      SCOPED_TRACE(absl::StrCat(NameOf(request), " | ", NameOf(situation.story), " | ", c.Text()));
      const Operation put = OperationOf(request, c);
      const Answer answer = Expected(request, situation);
      const bool is_stored = answer == Answer::kStored || answer == Answer::kReplaced;
      const bool depends_on_content = answer == Answer::kAgain || answer == Answer::kCallConflict ||
                                      answer == Answer::kOutputConflict;
      for (const bool content_is_known : {true, false}) {
        const BeginUpload begin{.put = PutOf(put), .content_is_known = content_is_known};
        const Applied applied = Apply(StateOf(c), begin, ContextOf(c));
        const bool is_wanted = is_stored || (depends_on_content && !content_is_known);
        EXPECT_EQ(applied.result.pending, is_wanted);
        EXPECT_EQ(ReasonOf(applied.result.status),
                  is_wanted ? Reason::kUnspecified : ReasonOfAnswer(answer));
        EXPECT_EQ(applied.result.payload.has_value(), !is_wanted && answer == Answer::kAgain);
        EXPECT_EQ(applied.state, AfterTime(c));
        ExpectSameEffects(applied.effects, Effects{});
        ++checked;
      }
      if (testing::Test::HasFailure()) FAIL() << "the first difference stops the table";
    }
  }
  EXPECT_GT(checked, 15'000);
}

// An upload ends in every state as its put would have been answered when the upload began, and stores
// nothing when the call has ended since.
TEST(CallTable, AnUploadEndsInEveryStateAsItsPutWouldWithinTheWindow) {
  int checked = 0;
  for (const Case& c : AllCases()) {
    for (int row = 0; row < static_cast<int>(Request::kClaim); ++row) {
      const auto request = static_cast<Request>(row);
      if (request == Request::kGetInput) continue;
      const Situation situation{.story = StoryOf(c),
                                .input_readable = IsReadableLife(c.input),
                                .has_old_tombstone = c.grave == Grave::kForgotten};
      SCOPED_TRACE(absl::StrCat(NameOf(request), " | ", NameOf(situation.story), " | ", c.Text()));
      const Operation put = OperationOf(request, c);
      for (const bool call_has_ended : {false, true}) {
        const FinishUpload finish{.put = PutOf(put), .call_has_ended = call_has_ended};
        const Applied applied = Apply(StateOf(c), finish, ContextOf(c));
        const Answer answer = ExpectedFinish(request, situation, call_has_ended);
        const Outcome outcome = OutcomeOf(answer, put, c);
        EXPECT_EQ(applied.result.status.code(), CodeOf(answer)) << applied.result.status;
        EXPECT_EQ(ReasonOf(applied.result.status), ReasonOfAnswer(answer));
        EXPECT_EQ(applied.state, outcome.state);
        ExpectSameEffects(applied.effects, outcome.effects);
        ExpectTold(answer, applied.result, outcome, c, request <= Request::kGetInput);
        ExpectInvariants(applied, c);
        ++checked;
      }
      if (testing::Test::HasFailure()) FAIL() << "the first difference stops the table";
    }
  }
  EXPECT_GT(checked, 15'000);
}

TEST(CallTable, TheSweepDestroysInEveryStateWhatBothClocksAllow) {
  for (const Case& c : AllCases()) {
    for (const PayloadKind kind : {PayloadKind::kInput, PayloadKind::kOutput}) {
      for (const bool matches : {true, false}) {
        SCOPED_TRACE(absl::StrCat("sweep ", static_cast<int>(kind), matches, " | ", c.Text()));
        const uint64_t generation =
            kind == PayloadKind::kInput ? kInputGeneration : kOutputGeneration;
        const Applied applied = Apply(
            StateOf(c), ExpirePayload{kind, matches ? generation : kNewGeneration}, ContextOf(c));
        const SweepAnswer answer =
            ExpectedSweep(kind, matches,
                          {.input_there = c.input != Life::kNone,
                           .input_erasable = IsErasableLife(c.input, c.clocks, c.SomeDead()),
                           .output_there = c.output != Life::kNone,
                           .output_erasable = IsErasableLife(c.output, c.clocks, c.SomeDead())});
        Outcome outcome{.state = AfterTime(c), .effects = {}};
        if (answer == SweepAnswer::kInputOnly) {
          outcome.effects.remove_input = outcome.state.input;
          outcome.state.input.reset();
        } else if (answer == SweepAnswer::kWholeCall) {
          EndIn(outcome, EndReason::kExpired, TokenHash{}, ContextOf(c).now.steady_ms);
        }
        EXPECT_TRUE(applied.result.status.ok());
        EXPECT_EQ(applied.state, outcome.state);
        ExpectSameEffects(applied.effects, outcome.effects);
        ExpectInvariants(applied, c);
        if (testing::Test::HasFailure()) FAIL() << "the first difference stops the table";
      }
    }
  }
}

TEST(CallTable, WhatMayBeErasedMayNotBeRead) {
  for (const Case& c : AllCases()) {
    SCOPED_TRACE(c.Text());
    const ApplyContext context = ContextOf(c);
    const std::optional<StoredPayload> output = StateOf(c).output;
    if (!output) continue;
    EXPECT_EQ(IsReadable(*output, context), IsReadableLife(c.output));
    EXPECT_EQ(IsErasable(*output, context), IsErasableLife(c.output, c.clocks, c.SomeDead()));
    EXPECT_FALSE(IsReadable(*output, context) && IsErasable(*output, context));
  }
}

}  // namespace
}  // namespace mayfly
