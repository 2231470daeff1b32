#include "call/spec.h"

#include <array>
#include <cstddef>

namespace mayfly::spec {
namespace {

constexpr size_t kStories = static_cast<size_t>(Story::kCount);
constexpr size_t kRequests = static_cast<size_t>(Request::kCount);

using A = Answer;

// clang-format off
constexpr std::array<std::array<Answer, kStories>, kRequests> kTable = {{
  // kNever
  //   kConsumedByMe    kConsumedByOther kDeleted           kExpired
  //   kPending         kReady           kClaimedByMe       kClaimedMyOld    kClaimedByOther
  {{A::kStored,                                                                // PutInputSame
    A::kLateOk,         A::kLateOk,      A::kDeleted,       A::kExpired,
    A::kAgain,          A::kAgain,       A::kAgain,         A::kAgain,       A::kAgain}},
  {{A::kStored,                                                                // PutInputOther
    A::kLateOk,         A::kLateOk,      A::kDeleted,       A::kExpired,
    A::kCallConflict,   A::kCallConflict, A::kCallConflict, A::kCallConflict, A::kCallConflict}},
  {{A::kOutsideWindow,                                                         // ..., too old an id
    A::kLateOk,         A::kLateOk,      A::kDeleted,       A::kExpired,
    A::kAgain,          A::kAgain,       A::kAgain,         A::kAgain,       A::kAgain}},
  {{A::kOutsideWindow,
    A::kLateOk,         A::kLateOk,      A::kDeleted,       A::kExpired,
    A::kCallConflict,   A::kCallConflict, A::kCallConflict, A::kCallConflict, A::kCallConflict}},
  {{A::kUnknown,                                                               // GetInput
    A::kConsumed,       A::kConsumed,    A::kDeleted,       A::kExpired,
    A::kGiven,          A::kGiven,       A::kGiven,         A::kGiven,       A::kGiven}},
  {{A::kUnknown,                                                               // PutOutputLower
    A::kLateOk,         A::kLateOk,      A::kDeleted,       A::kExpired,
    A::kStored,         A::kStale,       A::kStale,         A::kStale,       A::kStale}},
  {{A::kUnknown,                                                               // PutOutputEqualSame
    A::kLateOk,         A::kLateOk,      A::kDeleted,       A::kExpired,
    A::kStored,         A::kAgain,       A::kAgain,         A::kAgain,       A::kAgain}},
  {{A::kUnknown,                                                               // PutOutputEqualOther
    A::kLateOk,         A::kLateOk,      A::kDeleted,       A::kExpired,
    A::kStored,         A::kOutputConflict, A::kOutputConflict, A::kOutputConflict,
                                                                             A::kOutputConflict}},
  {{A::kUnknown,                                                               // PutOutputHigher
    A::kLateOk,         A::kLateOk,      A::kDeleted,       A::kExpired,
    A::kStored,         A::kReplaced,    A::kOutputClaimed, A::kOutputClaimed, A::kOutputClaimed}},
  {{A::kUnknown,                                                               // Claim
    A::kConsumed,       A::kConsumed,    A::kDeleted,       A::kExpired,
    A::kNothingYet,     A::kClaimed,     A::kReclaimed,     A::kReclaimed,   A::kNothingYet}},
  {{A::kUnknown,                                                               // Ack
    A::kAckedBefore,    A::kConsumed,    A::kDeleted,       A::kExpired,
    A::kOutputPending,  A::kClaimLost,   A::kAcked,         A::kClaimLost,   A::kClaimLost}},
  {{A::kUnknown,                                                               // Release
    A::kConsumed,       A::kConsumed,    A::kDeleted,       A::kExpired,
    A::kOutputPending,  A::kClaimLost,   A::kReleased,      A::kClaimLost,   A::kClaimLost}},
  {{A::kUnknown,                                                               // Renew
    A::kConsumed,       A::kConsumed,    A::kDeleted,       A::kExpired,
    A::kOutputPending,  A::kClaimLost,   A::kRenewed,       A::kClaimLost,   A::kClaimLost}},
  {{A::kTold,                                                                  // Describe
    A::kTold,           A::kTold,        A::kTold,          A::kTold,
    A::kTold,           A::kTold,        A::kTold,          A::kTold,        A::kTold}},
  {{A::kUnknown,                                                               // Delete
    A::kConsumed,       A::kConsumed,    A::kDeletedBefore, A::kExpired,
    A::kDeletedNow,     A::kDeletedNow,  A::kDeletedNow,    A::kDeletedNow,  A::kDeletedNow}},
}};
// clang-format on

bool ConcernsInput(Request request) { return request <= Request::kGetInput; }

bool HasOutput(Story story) { return story >= Story::kReady; }

}  // namespace

Answer Expected(Request request, const Situation& situation) {
  // An input's time may be over before its output's: then it is not there for anybody, and what
  // ended does not begin again.
  if (HasOutput(situation.story) && ConcernsInput(request) && !situation.input_readable) {
    return Answer::kExpired;
  }
  // Not put anew, whatever the window around ids says, which steady time may have been set back into.
  const bool puts_input = request == Request::kPutInputSame || request == Request::kPutInputOther;
  if (situation.has_old_tombstone && puts_input) return Answer::kLateOk;
  return kTable[static_cast<size_t>(request)][static_cast<size_t>(situation.story)];
}

// An upload has passed the window when it began, and none outlives its call.
Answer ExpectedFinish(Request put, const Situation& situation, bool call_has_ended) {
  if (put == Request::kPutInputSameOutsideWindow) put = Request::kPutInputSame;
  if (put == Request::kPutInputOtherOutsideWindow) put = Request::kPutInputOther;
  if (!call_has_ended) return Expected(put, situation);
  Situation forgotten = situation;
  forgotten.has_old_tombstone = false;
  const Answer answer = Expected(put, forgotten);
  const bool is_stored = answer == Answer::kStored || answer == Answer::kReplaced;
  return is_stored ? Answer::kUploadUnknown : answer;
}

absl::StatusCode CodeOf(Answer answer) {
  switch (answer) {
    case Answer::kUnknown:
    case Answer::kConsumed:
    case Answer::kDeleted:
    case Answer::kExpired:
    case Answer::kUploadUnknown:
      return absl::StatusCode::kNotFound;
    case Answer::kCallConflict:
    case Answer::kOutputConflict:
      return absl::StatusCode::kAlreadyExists;
    case Answer::kStale:
      return absl::StatusCode::kAborted;
    case Answer::kClaimLost:
    case Answer::kOutputClaimed:
    case Answer::kOutputPending:
      return absl::StatusCode::kFailedPrecondition;
    case Answer::kOutsideWindow:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kOk;
  }
}

Reason ReasonOfAnswer(Answer answer) {
  switch (answer) {
    case Answer::kUnknown:
      return Reason::kCallUnknown;
    case Answer::kConsumed:
      return Reason::kOutputConsumed;
    case Answer::kDeleted:
      return Reason::kCallDeleted;
    case Answer::kExpired:
      return Reason::kCallExpired;
    case Answer::kCallConflict:
      return Reason::kCallConflict;
    case Answer::kOutputConflict:
      return Reason::kOutputConflict;
    case Answer::kStale:
      return Reason::kStaleAttempt;
    case Answer::kClaimLost:
      return Reason::kClaimLost;
    case Answer::kOutputClaimed:
      return Reason::kOutputClaimed;
    case Answer::kOutputPending:
      return Reason::kOutputPending;
    case Answer::kOutsideWindow:
      return Reason::kIdOutsideWindow;
    case Answer::kUploadUnknown:
      return Reason::kUploadUnknown;
    default:
      return Reason::kUnspecified;
  }
}

CallPhase PhaseOf(Story story) {
  switch (story) {
    case Story::kConsumedByMe:
    case Story::kConsumedByOther:
      return CallPhase::kConsumed;
    case Story::kDeleted:
      return CallPhase::kDeleted;
    case Story::kExpired:
      return CallPhase::kExpired;
    case Story::kPending:
      return CallPhase::kPending;
    case Story::kReady:
      return CallPhase::kReady;
    case Story::kClaimedByMe:
    case Story::kClaimedMyOld:
    case Story::kClaimedByOther:
      return CallPhase::kClaimed;
    default:
      return CallPhase::kUnknown;
  }
}

SweepAnswer ExpectedSweep(PayloadKind kind, bool generation_matches,
                          const SweepSituation& situation) {
  if (!generation_matches) return SweepAnswer::kIgnored;
  if (kind == PayloadKind::kOutput) {
    return situation.output_there && situation.output_erasable ? SweepAnswer::kWholeCall
                                                               : SweepAnswer::kIgnored;
  }
  if (!situation.input_there || !situation.input_erasable) return SweepAnswer::kIgnored;
  const bool output_stays = situation.output_there && !situation.output_erasable;
  return output_stays ? SweepAnswer::kInputOnly : SweepAnswer::kWholeCall;
}

absl::string_view NameOf(Story story) {
  constexpr std::array<absl::string_view, kStories> kNames = {
      "never", "consumed by me", "consumed by other",     "deleted",         "expired", "pending",
      "ready", "claimed by me",  "claimed, my old fence", "claimed by other"};
  return kNames[static_cast<size_t>(story)];
}

absl::string_view NameOf(Request request) {
  constexpr std::array<absl::string_view, kRequests> kNames = {
      "put input, same content",
      "put input, other content",
      "put input, same content, id outside window",
      "put input, other content, id outside window",
      "get input",
      "put output, lower attempt",
      "put output again",
      "put output, same attempt, other content",
      "put output, higher attempt",
      "claim",
      "ack",
      "release",
      "renew",
      "describe",
      "delete"};
  return kNames[static_cast<size_t>(request)];
}

}  // namespace mayfly::spec
