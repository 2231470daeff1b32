// The rules of retrieval as a table, written from the prose of the design and not from
// call/apply.cc: the answer to every request in every state of a call.
//
// A Situation is what an onlooker would say of the call; it knows no timestamps. The tests turn
// situations into states (table_test.cc), and what really happened into situations
// (history_test.cc), and compare.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "base/error.h"
#include "call/operation.h"

namespace mayfly::spec {

// The columns of the table. "Me" is whoever sends the request.
enum class Story {
  kNever,            // nothing is there: never was, or forgotten
  kConsumedByMe,     // I acknowledged it
  kConsumedByOther,  // another claim acknowledged it
  kDeleted,
  kExpired,       // past its time, swept or not
  kPending,       // an input, no output
  kReady,         // an output that nobody holds, or whose claim has lapsed
  kClaimedByMe,   // I hold it, and name the current fence
  kClaimedMyOld,  // I hold it, and name a fence of before
  kClaimedByOther,
  kCount,
};

// The rows of the table.
enum class Request {
  kPutInputSame,  // the content that is there, should one be there
  kPutInputOther,
  kPutInputSameOutsideWindow,
  kPutInputOtherOutsideWindow,
  kGetInput,
  kPutOutputLower,  // an attempt below the stored one, should one be there
  kPutOutputEqualSame,
  kPutOutputEqualOther,
  kPutOutputHigher,
  kClaim,
  kAck,
  kRelease,
  kRenew,
  kDescribe,
  kDelete,
  kCount,
};

enum class Answer {
  // OK, and something changes:
  kStored,
  kReplaced,
  kClaimed,
  kReclaimed,  // the same claim, its lease counted anew
  kRenewed,
  kReleased,
  kAcked,
  kDeletedNow,
  // OK, and nothing changes:
  kAgain,   // it is stored already
  kLateOk,  // the call was consumed since
  kGiven,   // the input
  kNothingYet,
  kAckedBefore,
  kDeletedBefore,
  kTold,  // the description
  // Refused:
  kUnknown,
  kConsumed,
  kDeleted,
  kExpired,
  kCallConflict,
  kOutputConflict,
  kStale,
  kClaimLost,
  kOutputClaimed,
  kOutputPending,
  kOutsideWindow,
  kUploadUnknown,
};

struct Situation {
  Story story = Story::kNever;
  // True while workers can read the input, which may end before the output does.
  bool input_readable = false;
  // The call has ended and was forgotten, but its tombstone is still there.
  bool has_old_tombstone = false;
};

Answer Expected(Request request, const Situation& situation);
// The answer to the end of an upload whose put is `put`. `call_has_ended`: since the upload began.
Answer ExpectedFinish(Request put, const Situation& situation, bool call_has_ended);

// The code and reason of a rejection; OK for every other answer.
absl::StatusCode CodeOf(Answer answer);
Reason ReasonOfAnswer(Answer answer);

CallPhase PhaseOf(Story story);

// The effect of the sweeper's request, depending on what may be destroyed (past its deadline on
// both clocks).
enum class SweepAnswer { kIgnored, kInputOnly, kWholeCall };
struct SweepSituation {
  bool input_there = false;
  bool input_erasable = false;
  bool output_there = false;
  bool output_erasable = false;
};
SweepAnswer ExpectedSweep(PayloadKind kind, bool generation_matches,
                          const SweepSituation& situation);

absl::string_view NameOf(Story story);
absl::string_view NameOf(Request request);

}  // namespace mayfly::spec
