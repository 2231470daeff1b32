#include "sim/model.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"

#include "call/spec.h"

namespace mayfly::sim {
namespace {

using spec::Answer;
using spec::CodeOf;
using spec::Expected;
using spec::PhaseOf;
using spec::ReasonOfAnswer;
using spec::Request;
using spec::Situation;
using spec::Story;

bool IsOver(const ModelPayload& payload, int64_t now_ms) { return payload.deadline_ms <= now_ms; }

Situation Judge(const ModelCall& call, const Operation& operation, int64_t now_ms) {
  Situation situation{.input_readable = call.input && !IsOver(*call.input, now_ms)};
  if (call.end) {
    situation.story = call.end->reason == EndReason::kDeleted   ? Story::kDeleted
                      : call.end->reason == EndReason::kExpired ? Story::kExpired
                      : call.end->token == operation.token      ? Story::kConsumedByMe
                                                                : Story::kConsumedByOther;
  } else if (call.output) {
    const bool is_held = call.claim && now_ms < call.claim->lease_end_ms;
    situation.story = IsOver(*call.output, now_ms)           ? Story::kExpired
                      : !is_held                             ? Story::kReady
                      : call.claim->token != operation.token ? Story::kClaimedByOther
                      : call.claim->fence != operation.fence || operation.fence == 0
                          ? Story::kClaimedMyOld
                          : Story::kClaimedByMe;
  } else if (call.input) {
    situation.story = situation.input_readable ? Story::kPending : Story::kExpired;
  }
  return situation;
}

Request RequestOf(const ModelCall& call, const Operation& operation, int64_t now_ms) {
  switch (operation.kind) {
    case Kind::kPutInput: {
      const bool is_same = call.input && call.input->content == operation.payload.content;
      const bool is_outside = std::abs(operation.id_time_ms - now_ms) > kIdWindowMs;
      if (is_outside) {
        return is_same ? Request::kPutInputSameOutsideWindow : Request::kPutInputOtherOutsideWindow;
      }
      return is_same ? Request::kPutInputSame : Request::kPutInputOther;
    }
    case Kind::kPutOutput: {
      const uint32_t stored = call.output ? call.output->attempt : 0;
      const uint32_t attempt = operation.payload.attempt;
      if (attempt < stored) return Request::kPutOutputLower;
      if (attempt > stored) return Request::kPutOutputHigher;
      return call.output->content == operation.payload.content ? Request::kPutOutputEqualSame
                                                               : Request::kPutOutputEqualOther;
    }
    case Kind::kGetInput:
      return Request::kGetInput;
    case Kind::kClaim:
      return Request::kClaim;
    case Kind::kAck:
      return Request::kAck;
    case Kind::kRelease:
      return Request::kRelease;
    case Kind::kRenew:
      return Request::kRenew;
    case Kind::kDelete:
      return Request::kDelete;
    case Kind::kDescribe:
      break;
  }
  return Request::kDescribe;
}

int64_t LeaseEnd(const ModelCall& call, int64_t claimed_ms, int64_t lease_ms, int64_t now_ms) {
  return std::min({now_ms + lease_ms, call.output->deadline_ms, claimed_ms + kLeaseTotalMaxMs});
}

void End(EndReason reason, uint32_t token, int64_t now_ms, ModelCall* call) {
  *call = ModelCall{.end = ModelEnd{.reason = reason, .token = token, .ended_ms = now_ms}};
}

Outcome Carry(Answer answer, const ModelCall& before, const Operation& operation, int64_t now_ms,
              const Situation& situation) {
  Outcome outcome{.call = before};
  ModelCall& call = outcome.call;
  Reply& reply = outcome.reply;
  reply.code = CodeOf(answer);
  reply.reason = ReasonOfAnswer(answer);
  const bool is_input = operation.kind == Kind::kPutInput;
  switch (answer) {
    case Answer::kStored:
    case Answer::kReplaced:
      (is_input ? call.input : call.output) = operation.payload;
      if (!is_input) call.claim.reset();
      reply.deadline_ms = operation.payload.deadline_ms;
      break;
    case Answer::kAgain:
      reply.deadline_ms = (is_input ? call.input : call.output)->deadline_ms;
      break;
    case Answer::kGiven:
      reply.content = call.input->content;
      break;
    case Answer::kClaimed:
      call.claim =
          ModelClaim{.token = operation.token, .made_by = operation.number, .claimed_ms = now_ms};
      [[fallthrough]];
    case Answer::kReclaimed:
    case Answer::kRenewed:
      call.claim->lease_end_ms =
          std::max(call.claim->lease_end_ms,
                   LeaseEnd(call, call.claim->claimed_ms, operation.lease_ms, now_ms));
      reply.lease_end_ms = call.claim->lease_end_ms;
      outcome.claim = call.claim->made_by;
      if (answer != Answer::kRenewed) reply.content = call.output->content;
      break;
    case Answer::kReleased:
      call.claim.reset();
      break;
    case Answer::kAcked:
      End(EndReason::kConsumed, operation.token, now_ms, &call);
      reply.ended_ms = now_ms;
      break;
    case Answer::kDeletedNow:
      End(EndReason::kDeleted, 0, now_ms, &call);
      reply.ended_ms = now_ms;
      break;
    case Answer::kAckedBefore:
    case Answer::kDeletedBefore:
      reply.ended_ms = call.end->ended_ms;
      break;
    case Answer::kNothingYet:
      reply.pending = true;
      break;
    case Answer::kTold:
      reply.phase = PhaseOf(situation.story);
      break;
    default:
      break;
  }
  return outcome;
}

}  // namespace

std::vector<Outcome> Decide(const ModelCall& given, const Operation& operation, int64_t now_ms) {
  ModelCall call = given;
  if (call.claim && call.claim->lease_end_ms <= now_ms) call.claim.reset();
  std::vector<ModelCall> states;
  if (call.end && call.end->ended_ms + kTombstoneTtlMs <= now_ms) call.end.reset();
  states.push_back(call);
  // The sweep has ended it, sooner or later; so long after its time that may be forgotten.
  const std::optional<ModelPayload>& decides = call.output ? call.output : call.input;
  if (decides && decides->deadline_ms + kTombstoneTtlMs <= now_ms) states.push_back(ModelCall());

  std::vector<Outcome> outcomes;
  for (const ModelCall& state : states) {
    const Situation situation = Judge(state, operation, now_ms);
    Answer answer = Expected(RequestOf(state, operation, now_ms), situation);
    const bool stores = answer == Answer::kStored || answer == Answer::kReplaced;
    if (stores && IsOver(operation.payload, now_ms)) answer = Answer::kExpired;
    if (answer == Answer::kNothingYet && operation.wait_until_ms != 0) continue;
    outcomes.push_back(Carry(answer, state, operation, now_ms, situation));
  }
  // Whatever there is to claim: a wait that ends while nobody looked has seen nothing.
  if (operation.wait_until_ms != 0 && operation.wait_until_ms <= now_ms) {
    outcomes.push_back({.call = call, .reply = {.pending = true}});
  }
  return outcomes;
}

std::string Describe(const Operation& operation) {
  constexpr const char* kNames[] = {"put input", "get input", "put output", "claim", "ack",
                                    "release",   "renew",     "describe",   "delete"};
  return absl::StrCat("#", operation.number, " ", kNames[static_cast<size_t>(operation.kind)],
                      " content ", operation.payload.content, " attempt ",
                      operation.payload.attempt, " deadline ", operation.payload.deadline_ms,
                      " token ", operation.token, " fence ", operation.fence, " lease ",
                      operation.lease_ms, " wait until ", operation.wait_until_ms);
}

std::string Describe(const Reply& reply) {
  return absl::StrCat(absl::StatusCodeToString(reply.code), " ", ReasonName(reply.reason),
                      reply.pending ? " pending" : "", " phase ", static_cast<int>(reply.phase),
                      " content ", reply.content, " deadline ", reply.deadline_ms, " lease end ",
                      reply.lease_end_ms, " ended ", reply.ended_ms);
}

std::string Describe(const ModelCall& call) {
  std::string text = "[";
  if (call.input)
    absl::StrAppend(&text, "input #", call.input->put, " until ", call.input->deadline_ms, " ");
  if (call.output) {
    absl::StrAppend(&text, "output #", call.output->put, " attempt ", call.output->attempt,
                    " until ", call.output->deadline_ms, " ");
  }
  if (call.claim) {
    absl::StrAppend(&text, "claim of ", call.claim->token, " by #", call.claim->made_by, " fence ",
                    call.claim->fence, " until ", call.claim->lease_end_ms, " ");
  }
  if (call.end) {
    absl::StrAppend(&text, "ended by ", static_cast<int>(call.end->reason), " token ",
                    call.end->token, " at ", call.end->ended_ms, " ");
  }
  return text + "]";
}

}  // namespace mayfly::sim
