// Random histories of clients, workers, sweeps, restarts and disagreeing clocks. The model of a
// call is only the log of its answers. Every answer must be the one that call/spec.cc derives from
// that log, and no promise may be broken.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "call/apply.h"
#include "call/call_builder.h"
#include "call/spec.h"
#include "support/random_seed.h"

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
using spec::SweepSituation;

constexpr int kHistories = 4000;
constexpr int kStepsPerHistory = 150;
constexpr int kCalls = 3;
// A tombstone outlives the id window by a minute: so much may a corrected clock go back in all.
constexpr int64_t kStepsBackMax = 50 * kSecond;

class ByContentNumber : public ContentComparer {
 public:
  explicit ByContentNumber(uint8_t number) : number_(number) {}
  absl::StatusOr<bool> SameContent(const StoredPayload& stored) const override {
    return stored.fingerprint[0] == number_;
  }

 private:
  const uint8_t number_;
};

// Something that was answered, and cannot be taken back.
struct Event {
  enum What { kInputStored, kOutputStored, kHeld, kReleased, kInputSwept, kEnded, kForgotten };
  What what;
  int64_t steady_ms = 0;
  std::optional<StoredPayload> payload = {};
  std::optional<Claim> claim = {};  // kHeld: as the holder was told, at each claim and renewal
  EndReason reason = EndReason::kExpired;
  TokenHash token_hash{};
};

// The state that follows from the log.
struct Memory {
  std::optional<StoredPayload> input;
  std::optional<StoredPayload> output;
  std::optional<Claim> held;
  std::optional<Event> end;
};

Memory Recall(const std::vector<Event>& log) {
  Memory memory;
  for (const Event& event : log) {
    switch (event.what) {
      case Event::kInputStored:
        memory.input = event.payload;
        break;
      case Event::kOutputStored:
        memory.output = event.payload;
        memory.held.reset();
        break;
      case Event::kHeld: {
        const bool renewed = memory.held && memory.held->fence == event.claim->fence;
        const int64_t promised_ms = renewed ? memory.held->lease_end_ms : 0;
        memory.held = event.claim;
        memory.held->lease_end_ms = std::max(promised_ms, event.claim->lease_end_ms);
        break;
      }
      case Event::kReleased:
        memory.held.reset();
        break;
      case Event::kInputSwept:
        memory.input.reset();
        break;
      case Event::kEnded:
        memory = Memory{.input = {}, .output = {}, .held = {}, .end = event};
        break;
      case Event::kForgotten:
        memory.end.reset();
        break;
    }
  }
  return memory;
}

struct Call {
  int64_t id_time_ms = 0;
  CallState state = {};  // only ever handed back to Apply
  std::vector<Event> log = {};
  // An upload under way: its content, its attempt (0: of the input), and the log when it began.
  struct Upload {
    uint8_t content = 0;
    uint32_t attempt = 0;
    size_t began = 0;
  };
  std::optional<Upload> upload = std::nullopt;
};

class History {
 public:
  // `answers` counts each answer that was given.
  History(uint64_t seed, std::map<Answer, int>* answers)
      : random_(seed), context_(ContextAt(kNow)), answers_(answers) {
    for (Call& call : calls_) call = NewCall();
  }

  void Run() {
    for (int step = 0; step < kStepsPerHistory && !testing::Test::HasFailure(); ++step) {
      LetTimePass();
      Call& call = calls_[Between(0, kCalls - 1)];
      if (OneIn(60)) call = NewCall();
      Forget(call);
      SCOPED_TRACE(absl::StrCat("step ", step));
      if (OneIn(8)) {
        Sweep(call);
      } else {
        Ask(call);
      }
    }
  }

 private:
  Call NewCall() { return Call{.id_time_ms = steady_ms_ + Between(-6 * kMinute, 6 * kMinute)}; }
  int64_t Between(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  bool OneIn(int64_t n) { return Between(1, n) == 1; }
  // Mostly short, so that a call gets somewhere before its time is over.
  int64_t PickDuration() {
    const int64_t dice = Between(0, 39);
    if (dice < 16) return Between(0, 2);
    if (dice < 28) return Between(3, kSecond);
    if (dice < 37) return Between(kSecond, 20 * kSecond);
    if (dice < 39) return Between(kMinute, 8 * kMinute);
    return OneIn(3) ? Between(kHour, 26 * kHour) : 0;
  }

  void LetTimePass() {
    const int64_t passed_ms = PickDuration();
    steady_ms_ += passed_ms;
    elapsed_ms_ += passed_ms;
    if (OneIn(25)) wall_ahead_ms_ = Between(-2, 2) * PickDuration();
    if (OneIn(40)) AnchorAnew();
    if (OneIn(30)) trusted_ = !trusted_;
    if (OneIn(40)) Restart();
    if (OneIn(60)) LimitTtl(Between(1, 24) * kHour);
    const int64_t wall_ms = steady_ms_ + wall_ahead_ms_;
    context_.now.steady_ms = steady_ms_;
    context_.now.elapsed_ms = elapsed_ms_;
    context_.now.read_ms = std::max(wall_ms, steady_ms_);
    context_.now.erase_ms = trusted_ ? std::min(wall_ms, steady_ms_) : Now::kNeverMs;
  }

  void AnchorAnew() {
    const int64_t step_ms = std::max(wall_ahead_ms_, steps_back_ms_ - kStepsBackMax);
    if (step_ms < 0) steps_back_ms_ -= step_ms;
    steady_ms_ += step_ms;
    wall_ahead_ms_ = 0;
  }

  // A restart forgets claims; the boot number makes the fences rise.
  void Restart() {
    fence_ = ((fence_ >> 40) + 1) << 40;
    for (Call& call : calls_) {
      call.state.claim.reset();
      call.log.push_back({.what = Event::kReleased, .steady_ms = steady_ms_});
    }
  }

  void LimitTtl(int64_t max_ttl_ms) {
    if (max_ttl_ms < context_.max_ttl_ms) {
      context_.dead_before_ms = std::max(context_.dead_before_ms, steady_ms_ - max_ttl_ms);
    }
    context_.max_ttl_ms = max_ttl_ms;
  }

  // A payload or claim that was over when the call was accessed stays over, even if the clock is
  // set back afterwards.
  void Forget(Call& call) {
    const Memory memory = Recall(call.log);
    if (memory.held && memory.held->lease_end_ms <= elapsed_ms_) {
      call.log.push_back({.what = Event::kReleased, .steady_ms = steady_ms_});
    }
    const std::optional<Event>& end = memory.end;
    if (end && end->steady_ms + context_.tombstone_ttl_ms <= steady_ms_) {
      call.log.push_back({.what = Event::kForgotten, .steady_ms = steady_ms_});
    }
  }

  bool IsOver(const StoredPayload& payload, int64_t clock_ms) const {
    return clock_ms >= payload.deadline_ms || clock_ms - payload.stored_ms >= context_.max_ttl_ms ||
           payload.stored_ms <= context_.dead_before_ms;
  }
  bool SomeClockSaysOver(const StoredPayload& payload) const {
    return IsOver(payload, steady_ms_) || IsOver(payload, steady_ms_ + wall_ahead_ms_);
  }
  bool MayBeErased(const StoredPayload& payload) const {
    return trusted_ && IsOver(payload, steady_ms_) && IsOver(payload, steady_ms_ + wall_ahead_ms_);
  }

  StoredPayload NewPayload(uint32_t attempt, uint8_t content) {
    const int64_t ttls[] = {kSecond, 30 * kSecond, 10 * kMinute, 24 * kHour};
    const int64_t ttl_ms = std::min(ttls[Between(0, 3)], context_.max_ttl_ms);
    StoredPayload payload = PayloadAt(steady_ms_, steady_ms_ + ttl_ms, ++generation_, attempt);
    payload.fingerprint[0] = content;
    return payload;
  }

  // The situation of the call, from its log, for a holder of `token` and `fence`.
  Situation Judge(const Memory& memory, uint8_t token, uint64_t fence) const {
    Situation situation{.story = Story::kNever,
                        .input_readable = memory.input && !SomeClockSaysOver(*memory.input)};
    if (memory.end) {
      situation.story = memory.end->reason == EndReason::kDeleted   ? Story::kDeleted
                        : memory.end->reason == EndReason::kExpired ? Story::kExpired
                        : memory.end->token_hash == HashOf(token)   ? Story::kConsumedByMe
                                                                    : Story::kConsumedByOther;
    } else if (memory.output) {
      const bool held = memory.held && elapsed_ms_ < memory.held->lease_end_ms;
      situation.story = SomeClockSaysOver(*memory.output)      ? Story::kExpired
                        : !held                                ? Story::kReady
                        : memory.held->token != TokenOf(token) ? Story::kClaimedByOther
                        : memory.held->fence != fence          ? Story::kClaimedMyOld
                                                               : Story::kClaimedByMe;
    } else if (memory.input) {
      situation.story = situation.input_readable ? Story::kPending : Story::kExpired;
    }
    return situation;
  }

  uint64_t PickFence(const Call& call, uint8_t token) {
    std::vector<uint64_t> fences = {0};
    for (const Event& event : call.log) {
      if (event.claim && (event.claim->token == TokenOf(token) || OneIn(10))) {
        fences.push_back(event.claim->fence);
      }
    }
    return OneIn(5) ? fences[Between(0, static_cast<int64_t>(fences.size()) - 1)] : fences.back();
  }

  Request PutInputRequest(const Call& call, const Memory& memory, uint8_t content) const {
    const bool outside = std::abs(call.id_time_ms - steady_ms_) > 5 * kMinute;
    const bool same = memory.input && memory.input->fingerprint[0] == content;
    if (outside) {
      return same ? Request::kPutInputSameOutsideWindow : Request::kPutInputOtherOutsideWindow;
    }
    return same ? Request::kPutInputSame : Request::kPutInputOther;
  }

  static Request PutOutputRequest(const Memory& memory, uint32_t attempt, uint8_t content) {
    const uint32_t stored = memory.output ? memory.output->attempt : 0;
    if (attempt < stored) return Request::kPutOutputLower;
    if (attempt > stored) return Request::kPutOutputHigher;
    const bool same = memory.output && memory.output->fingerprint[0] == content;
    return same ? Request::kPutOutputEqualSame : Request::kPutOutputEqualOther;
  }

  // Begins an upload, or ends the one that is under way.
  void AskUpload(Call& call) {
    const Memory memory = Recall(call.log);
    const bool is_new = !call.upload;
    if (is_new) {
      call.upload = Call::Upload{.content = static_cast<uint8_t>(OneIn(4) ? 2 : 1),
                                 .attempt = static_cast<uint32_t>(OneIn(2) ? 0 : Between(1, 4)),
                                 .began = call.log.size()};
    }
    const Call::Upload upload = *call.upload;
    const ByContentNumber comparer(upload.content);
    const StoredPayload payload = NewPayload(upload.attempt, upload.content);
    Put put = PutOutput{.payload = payload, .content = &comparer};
    Request request = PutOutputRequest(memory, upload.attempt, upload.content);
    if (upload.attempt == 0) {
      put = PutInput{.id_time_ms = call.id_time_ms, .payload = payload, .content = &comparer};
      request = PutInputRequest(call, memory, upload.content);
    }
    const Situation situation = Judge(memory, 0, 0);
    SCOPED_TRACE(absl::StrCat("upload ", is_new, NameOf(request), " | ", NameOf(situation.story)));
    if (is_new) {
      const Applied applied = Apply(call.state, BeginUpload{.put = put}, context_);
      call.state = applied.state;
      EXPECT_TRUE(applied.effects.empty());
      if (!applied.result.pending) call.upload.reset();
      return;
    }
    const bool call_has_ended =
        std::any_of(call.log.begin() + static_cast<ptrdiff_t>(upload.began), call.log.end(),
                    [](const Event& event) { return event.what == Event::kEnded; });
    call.upload.reset();
    Answer answer = ExpectedFinish(request, situation, call_has_ended);
    const bool stores = answer == Answer::kStored || answer == Answer::kReplaced;
    if (stores && SomeClockSaysOver(payload)) answer = Answer::kExpired;
    ++(*answers_)[answer];
    const Applied applied =
        Apply(call.state, FinishUpload{.put = put, .call_has_ended = call_has_ended}, context_);
    call.state = applied.state;
    ExpectAnswer(answer, applied.result);
    ExpectPromises(call, answer, applied.result, 0);
    const Operation operation = std::visit([](const auto& each) { return Operation(each); }, put);
    Record(call, answer, operation, applied.result, 0);
  }

  void Ask(Call& call) {
    if (OneIn(6)) return AskUpload(call);
    const Memory memory = Recall(call.log);
    const auto token = static_cast<uint8_t>(Between(1, 3));
    const uint64_t fence = PickFence(call, token);
    const auto content = static_cast<uint8_t>(OneIn(4) ? 2 : 1);
    const ByContentNumber comparer(content);
    const int64_t lease_ms = Between(1, 90) * kSecond;
    Request request{};
    Operation operation;
    switch (call.log.empty() && OneIn(2) ? 0 : Between(0, 11)) {
      case 0: {
        request = PutInputRequest(call, memory, content);
        operation = PutInput{
            .id_time_ms = call.id_time_ms, .payload = NewPayload(0, content), .content = &comparer};
        break;
      }
      case 1:
        request = Request::kGetInput;
        operation = GetInput{};
        break;
      case 2:
      case 3: {
        const auto attempt = static_cast<uint32_t>(Between(1, 4));
        request = PutOutputRequest(memory, attempt, content);
        operation = PutOutput{NewPayload(attempt, content), &comparer};
        break;
      }
      case 4:
      case 5:
      case 6:
        request = Request::kClaim;
        operation = ClaimOutput{TokenOf(token), HashOf(token), ++fence_, lease_ms};
        break;
      case 7:
        request = Request::kAck;
        operation = AckOutput{TokenOf(token), HashOf(token), fence};
        break;
      case 8:
        request = Request::kRelease;
        operation = ReleaseOutput{TokenOf(token), fence};
        break;
      case 9:
        request = Request::kRenew;
        operation = RenewClaim{TokenOf(token), fence, lease_ms};
        break;
      case 10:
        request = Request::kDescribe;
        operation = DescribeCall{};
        break;
      default:
        request = OneIn(4) ? Request::kDelete : Request::kGetInput;
        operation = request == Request::kDelete ? Operation(DeleteCall{}) : Operation(GetInput{});
    }
    const Situation situation = Judge(memory, token, fence);
    SCOPED_TRACE(absl::StrCat(NameOf(request), " | ", NameOf(situation.story)));
    Answer answer = Expected(request, situation);
    // A payload that has expired before it is stored is never stored.
    const bool stores = answer == Answer::kStored || answer == Answer::kReplaced;
    if (stores && SomeClockSaysOver(*PayloadOf(operation))) answer = Answer::kExpired;
    ++(*answers_)[answer];
    const Applied applied = Apply(call.state, operation, context_);
    call.state = applied.state;
    ExpectAnswer(answer, applied.result);
    ExpectPromises(call, answer, applied.result, lease_ms);
    Record(call, answer, operation, applied.result, token);
    if (answer == Answer::kTold) {
      EXPECT_EQ(applied.result.phase, PhaseOf(situation.story));
    }
  }

  void ExpectAnswer(Answer answer, const OperationResult& result) {
    EXPECT_EQ(result.status.code(), CodeOf(answer)) << result.status;
    EXPECT_EQ(ReasonOf(result.status), ReasonOfAnswer(answer)) << result.status;
    EXPECT_EQ(result.pending, answer == Answer::kNothingYet);
    EXPECT_EQ(result.claim.has_value(), answer == Answer::kClaimed ||
                                            answer == Answer::kReclaimed ||
                                            answer == Answer::kRenewed);
  }

  // The promises, which hold independently of the specification.
  void ExpectPromises(const Call& call, Answer answer, const OperationResult& result,
                      int64_t lease_ms) {
    const Memory memory = Recall(call.log);
    int ends = 0;
    uint64_t fence_max = 0;
    for (const Event& event : call.log) {
      if (event.what == Event::kEnded) ++ends;
      if (event.claim) fence_max = std::max(fence_max, event.claim->fence);
    }
    const bool ended_now = answer == Answer::kAcked || answer == Answer::kDeletedNow;
    EXPECT_LE(ends + (ended_now ? 1 : 0), 1) << "ended twice";
    if (ended_now) {
      EXPECT_EQ(result.ended_ms, steady_ms_);
    }
    if (answer == Answer::kAckedBefore || answer == Answer::kDeletedBefore) {
      EXPECT_EQ(result.ended_ms, memory.end->steady_ms) << "another answer to the same request";
    }
    const bool stores = answer == Answer::kStored || answer == Answer::kReplaced;
    EXPECT_FALSE(ends > 0 && (stores || result.payload)) << "came back";
    if (stores || !result.payload) return;
    EXPECT_FALSE(SomeClockSaysOver(*result.payload)) << "past its time";
    const bool was_put = result.payload == memory.input || result.payload == memory.output;
    EXPECT_TRUE(was_put) << "not what was put last";
    if (!result.claim) return;
    if (answer == Answer::kClaimed) {
      EXPECT_GT(result.claim->fence, fence_max) << "a fence that does not rise";
    } else {
      EXPECT_EQ(result.claim->fence, fence_max) << "a claim that is not the last";
      EXPECT_GE(result.claim->lease_end_ms, memory.held->lease_end_ms) << "a promise taken back";
    }
    const int64_t first_ms = answer == Answer::kClaimed ? elapsed_ms_ : memory.held->claimed_ms;
    const int64_t left_ms =
        std::min(result.payload->deadline_ms, result.payload->stored_ms + context_.max_ttl_ms) -
        steady_ms_;
    const int64_t end_ms =
        std::min({elapsed_ms_ + lease_ms, first_ms + kHour, elapsed_ms_ + left_ms});
    const int64_t promised_ms = answer == Answer::kClaimed ? 0 : memory.held->lease_end_ms;
    EXPECT_EQ(result.claim->lease_end_ms, std::max(end_ms, promised_ms));
  }

  void Record(Call& call, Answer answer, const Operation& operation, const OperationResult& result,
              uint8_t token) {
    Event event{.what = Event::kEnded, .steady_ms = steady_ms_};
    switch (answer) {
      case Answer::kStored:
      case Answer::kReplaced: {
        event.what = std::holds_alternative<PutInput>(operation) ? Event::kInputStored
                                                                 : Event::kOutputStored;
        event.payload = *PayloadOf(operation);
        EXPECT_EQ(result.payload, event.payload);
        break;
      }
      case Answer::kClaimed:
      case Answer::kReclaimed:
      case Answer::kRenewed:
        event.what = Event::kHeld;
        event.claim = result.claim;
        break;
      case Answer::kReleased:
        event.what = Event::kReleased;
        break;
      case Answer::kAcked:
        event.reason = EndReason::kConsumed;
        event.token_hash = HashOf(token);
        break;
      case Answer::kDeletedNow:
        event.reason = EndReason::kDeleted;
        break;
      default:
        return;
    }
    if (event.what == Event::kHeld && !event.claim) return;  // reported above
    call.log.push_back(event);
  }

  void Sweep(Call& call) {
    const Memory memory = Recall(call.log);
    const PayloadKind kind = OneIn(2) ? PayloadKind::kInput : PayloadKind::kOutput;
    const auto& payload = kind == PayloadKind::kInput ? memory.input : memory.output;
    const bool matches = payload && !OneIn(4);
    const uint64_t generation = matches ? payload->slot.generation : generation_ + 1;
    const SweepSituation situation{.input_there = memory.input.has_value(),
                                   .input_erasable = memory.input && MayBeErased(*memory.input),
                                   .output_there = memory.output.has_value(),
                                   .output_erasable = memory.output && MayBeErased(*memory.output)};
    const SweepAnswer answer = ExpectedSweep(kind, matches, situation);
    const Applied applied = Apply(call.state, ExpirePayload{kind, generation}, context_);
    call.state = applied.state;
    EXPECT_EQ(applied.effects.tombstone.has_value(), answer == SweepAnswer::kWholeCall);
    EXPECT_EQ(applied.effects.empty(), answer == SweepAnswer::kIgnored);
    if (answer == SweepAnswer::kIgnored) return;
    const bool whole = answer == SweepAnswer::kWholeCall;
    call.log.push_back(
        {.what = whole ? Event::kEnded : Event::kInputSwept, .steady_ms = steady_ms_});
  }

  std::mt19937_64 random_;
  ApplyContext context_;
  std::map<Answer, int>* const answers_;
  int64_t steady_ms_ = kNow;
  int64_t elapsed_ms_ = kHour;  // the clock of leases: no step of another moves it
  int64_t wall_ahead_ms_ = 0;
  int64_t steps_back_ms_ = 0;
  bool trusted_ = true;
  uint64_t fence_ = uint64_t{1} << 40;
  uint64_t generation_ = 0;
  Call calls_[kCalls];
};

TEST(CallHistory, NoHistoryBreaksAPromiseOrLeavesTheSpecification) {
  const uint64_t first_seed = RandomSeed();
  std::printf("MAYFLY_TEST_SEED=%llu\n", static_cast<unsigned long long>(first_seed));
  std::map<Answer, int> answers;
  for (uint64_t seed = first_seed; seed < first_seed + kHistories; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    History(seed, &answers).Run();
    ASSERT_FALSE(HasFailure()) << "run again with MAYFLY_TEST_SEED=" << seed;
  }
  // Histories that never got anywhere would prove nothing.
  for (int answer = 0; answer <= static_cast<int>(Answer::kUploadUnknown); ++answer) {
    EXPECT_GT(answers[static_cast<Answer>(answer)], 20) << "answer " << answer;
  }
}

}  // namespace
}  // namespace mayfly
