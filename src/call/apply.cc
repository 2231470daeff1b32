#include "call/apply.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "call/refusal.h"

namespace mayfly {
namespace {

// The deadline was fixed when the payload was stored. A max_ttl that was lowered since then ends it
// earlier.
int64_t DeadlineOf(const StoredPayload& payload, const ApplyContext& context) {
  return std::min(payload.deadline_ms, payload.stored_ms + context.max_ttl_ms);
}

bool IsPast(const StoredPayload& payload, const ApplyContext& context, int64_t now_ms) {
  return payload.erased || DeadlineOf(payload, context) <= now_ms ||
         payload.stored_ms <= context.dead_before_ms;
}

bool IsForgotten(const Tombstone& tombstone, const ApplyContext& context) {
  const int64_t forget_ms =
      std::max(tombstone.forget_ms, tombstone.ended_ms + context.tombstone_ttl_ms);
  return forget_ms <= context.now.steady_ms;
}

// Applies one operation to one call. The state is `before` without payloads and claims that have
// expired.
class Application {
 public:
  Application(const CallState& before, const ApplyContext& context)
      : context_(context), applied_{.state = before, .result = {}, .effects = {}} {
    std::optional<Claim>& claim = applied_.state.claim;
    std::optional<Tombstone>& tombstone = applied_.state.tombstone;
    if (claim.has_value() && HasLapsed(*claim, context.now)) claim.reset();
    if (tombstone.has_value() && IsForgotten(*tombstone, context)) {
      forgotten_ = tombstone->reason;
      tombstone.reset();
    }
  }

  Applied Take() { return std::move(applied_); }

  void operator()(const PutInput& put) {
    if (MayStoreOrAgain(put, nullptr)) Store(put);
  }

  void operator()(const GetInput&) {
    if (const auto ended = Ended()) return Refuse(EndedError(*ended));
    if (!state().input && !state().output) return Refuse(UnknownError());
    if (!state().input || !IsReadable(*state().input, context_)) {
      return Refuse(EndedError(EndReason::kExpired));
    }
    if (state().input->damaged) return Refuse(DamagedError());
    result().payload = state().input;
  }

  void operator()(const PutOutput& put) {
    if (MayStoreOrAgain(put, nullptr)) Store(put);
  }

  void operator()(const BeginUpload& begin) {
    const auto again = [&](const StoredPayload& stored) {
      if (!begin.content_is_known) {
        result().pending = true;
        return;
      }
      std::visit([&](const auto& put) { PutAgain(put, stored); }, begin.put);
    };
    const auto may_store = [&](const auto& put) { return MayStore(put, nullptr, again); };
    if (std::visit(may_store, begin.put)) result().pending = true;
  }

  void operator()(const FinishUpload& finish) {
    const auto store = [&](const auto& put) {
      if (MayStoreOrAgain(put, &finish)) Store(put);
    };
    std::visit(store, finish.put);
  }

  void operator()(const ClaimOutput& request) {
    if (const auto ended = Ended()) return Refuse(EndedError(*ended));
    if (!state().output && !state().input) return Refuse(UnknownError());
    if (state().output && state().output->damaged) return Refuse(DamagedError());
    std::optional<Claim>& claim = state().claim;
    if (!state().output || (claim && claim->token != request.token)) {
      result().pending = true;
      return;
    }
    if (claim) {
      ++claim->uses;
    } else {
      claim = Claim{.token = request.token,
                    .token_hash = request.token_hash,
                    .fence = request.fence,
                    .claimed_ms = context_.now.elapsed_ms,
                    .lease_end_ms = 0};
    }
    // A repeated claim is the retry after a lost reply, so its lease starts at the new reply. A
    // delayed one does not shorten a lease that was renewed since.
    claim->lease_end_ms = std::max(claim->lease_end_ms, LeaseEnd(*claim, request.lease_ms, true));
    GiveClaim();
  }

  void operator()(const AckOutput& ack) {
    if (state().tombstone && state().tombstone->reason == EndReason::kConsumed &&
        state().tombstone->token == ack.token_hash) {
      result().ended_ms = state().tombstone->ended_ms;
      return;
    }
    if (!Holds(ack.token, ack.fence)) return;
    if (ack.crc32c && ack.crc32c != state().claim->crc32c) {
      return Refuse(MakeError(
          absl::StatusCode::kInvalidArgument, Reason::kChecksumMismatch,
          absl::StrCat("crc32c is ", *ack.crc32c, ", which differs from that of the output sent")));
    }
    result().ended_ms = End(EndReason::kConsumed, ack.token_hash);
  }

  void operator()(const ReleaseOutput& release) {
    if (!Holds(release.token, release.fence)) return;
    if (release.if_used_once && state().claim->uses > 1) return;
    state().claim.reset();
  }

  void operator()(const RenewClaim& renew) {
    if (!Holds(renew.token, renew.fence)) return;
    Claim& claim = *state().claim;
    ++claim.uses;
    // Never shortens a lease: a late renewal, or one that requests less, keeps the promised end.
    claim.lease_end_ms =
        std::max(claim.lease_end_ms, LeaseEnd(claim, renew.lease_ms, !renew.by_download));
    GiveClaim();
  }

  void operator()(const DescribeCall&) {
    if (const auto ended = Ended()) {
      result().ended_ms = state().tombstone ? state().tombstone->ended_ms : ExpiredMs();
      result().phase = *ended == EndReason::kConsumed  ? CallPhase::kConsumed
                       : *ended == EndReason::kDeleted ? CallPhase::kDeleted
                                                       : CallPhase::kExpired;
      return;
    }
    if (!state().input && !state().output) return;
    result().phase = !state().output  ? CallPhase::kPending
                     : !state().claim ? CallPhase::kReady
                                      : CallPhase::kClaimed;
    if (state().input && IsReadable(*state().input, context_)) result().input = state().input;
    result().output = state().output;
    if (state().claim) result().lease_end_ms = LeaseEndForClients();
  }

  void operator()(const DeleteCall&) {
    if (state().tombstone && state().tombstone->reason == EndReason::kDeleted) {
      result().ended_ms = state().tombstone->ended_ms;
      return;
    }
    if (const auto ended = Ended()) return Refuse(EndedError(*ended));
    if (!state().input && !state().output) return Refuse(UnknownError());
    result().ended_ms = End(EndReason::kDeleted, TokenHash{});
  }

  void operator()(const ExpirePayload& expire) {
    const bool is_input = expire.kind == PayloadKind::kInput;
    const std::optional<StoredPayload>& payload = is_input ? state().input : state().output;
    if (!payload || payload->slot.generation != expire.generation) return;
    if (!IsErasable(*payload, context_)) return;
    const bool call_lives_on = is_input && state().output && !IsErasable(*state().output, context_);
    if (!call_lives_on) {
      End(EndReason::kExpired, TokenHash{});
      return;
    }
    effects().remove_input = state().input;
    state().input.reset();
  }

 private:
  CallState& state() { return applied_.state; }
  OperationResult& result() { return applied_.result; }
  Effects& effects() { return applied_.effects; }

  void Refuse(absl::Status status) { result().status = std::move(status); }
  bool RefuseToStore(absl::Status status) {
    Refuse(std::move(status));
    return false;
  }

  // The call lives as long as this payload: its output, or its input while there is no output.
  const std::optional<StoredPayload>& DecidingPayload() {
    return state().output ? state().output : state().input;
  }

  // When the call expired. Its deadline may have been later, if a wider setting was in force before.
  int64_t ExpiredMs() {
    return std::min(DeadlineOf(*DecidingPayload(), context_), context_.now.steady_ms);
  }

  // The reason why the call has ended, if it has.
  std::optional<EndReason> Ended() {
    if (state().tombstone) return state().tombstone->reason;
    const std::optional<StoredPayload>& decides = DecidingPayload();
    if (decides && !IsReadable(*decides, context_)) return EndReason::kExpired;
    return std::nullopt;
  }

  // Whether to store the put's payload. If not, the result is set; `again` is called for a payload
  // that already exists. `finish`: the end of the upload that brought the payload, else null.
  bool MayStore(const PutInput& put, const FinishUpload* finish,
                absl::FunctionRef<void(const StoredPayload&)> again) {
    if (const auto ended = Ended()) return PutAfterEnd(*ended);
    const auto& stored = state().input;
    if (stored && IsReadable(*stored, context_)) {
      if (stored->damaged) return RefuseToStore(DamagedError());
      again(*stored);
      return false;
    }
    // The input has expired but the output has not. An input that has ended for workers is not
    // stored again, swept or not.
    if (state().output) return RefuseToStore(EndedError(EndReason::kExpired));
    if (finish != nullptr ? !IsUnderWay(*finish) : !IsInWindow(put)) return false;
    // Steady time was set back; otherwise the window would have rejected the id.
    if (forgotten_) return PutAfterEnd(*forgotten_);
    return IsReadable(put.payload, context_) || RefuseToStore(TooLateError());
  }

  // Without a window: an output needs a live input.
  bool MayStore(const PutOutput& put, const FinishUpload* finish,
                absl::FunctionRef<void(const StoredPayload&)> again) {
    if (const auto ended = Ended()) return PutAfterEnd(*ended);
    const std::optional<StoredPayload>& stored = state().output;
    if (!stored && !state().input) return RefuseToStore(UnknownError());
    if (stored && put.payload.attempt < stored->attempt) {
      return RefuseToStore(MakeError(absl::StatusCode::kAborted, Reason::kStaleAttempt,
                                     absl::StrCat("attempt is ", put.payload.attempt, ", attempt ",
                                                  stored->attempt, " was already put")));
    }
    if (stored && put.payload.attempt == stored->attempt) {
      if (stored->damaged) return RefuseToStore(DamagedError());
      again(*stored);
      return false;
    }
    if (state().claim) {
      return RefuseToStore(
          MakeError(absl::StatusCode::kFailedPrecondition, Reason::kOutputClaimed,
                    "a client holds the output of an earlier attempt under a claim"));
    }
    if (finish != nullptr && !IsUnderWay(*finish)) return false;
    return IsReadable(put.payload, context_) || RefuseToStore(TooLateError());
  }

  // Whether the time in a new call's id is within the id window; otherwise rejects the put.
  bool IsInWindow(const PutInput& put) {
    const int64_t now_ms = context_.now.steady_ms;
    const int64_t ahead_ms = put.id_time_ms - now_ms;
    const int64_t limit_ms =
        ahead_ms > 0 ? context_.id_window_ms
                     : std::min(context_.id_window_ms, now_ms - context_.id_floor_ms - 1);
    return std::abs(ahead_ms) <= limit_ms || RefuseToStore(OutsideWindowError(ahead_ms, limit_ms));
  }

  // Whether the call has not ended since the upload began; otherwise rejects the end of the upload.
  bool IsUnderWay(const FinishUpload& finish) {
    return !finish.call_has_ended || RefuseToStore(UploadEndedError());
  }

  // As MayStore; a payload that already exists is compared with the put's content.
  template <typename SomePut>
  bool MayStoreOrAgain(const SomePut& put, const FinishUpload* finish) {
    return MayStore(put, finish, [&](const StoredPayload& stored) { PutAgain(put, stored); });
  }

  void Store(const PutInput& put) {
    state().input = put.payload;
    effects().store = PayloadKind::kInput;
    result().payload = put.payload;
  }
  void Store(const PutOutput& put) {
    effects().remove_output = std::exchange(state().output, put.payload);
    effects().store = PayloadKind::kOutput;
    result().payload = put.payload;
  }

  void PutAgain(const PutInput& put, const StoredPayload& stored) {
    PutAgain(put.content->SameContent(stored), stored, Reason::kCallConflict,
             "the call already has a different input");
  }
  void PutAgain(const PutOutput& put, const StoredPayload& stored) {
    PutAgain(put.content->SameContent(stored), stored, Reason::kOutputConflict,
             "the same attempt has already put a different output");
  }

  // A late retry of a put whose call was consumed succeeds; nothing is stored.
  bool PutAfterEnd(EndReason reason) {
    return reason != EndReason::kConsumed && RefuseToStore(EndedError(reason));
  }

  void PutAgain(const absl::StatusOr<bool>& same_content, const StoredPayload& stored,
                Reason conflict, absl::string_view text) {
    if (!same_content.ok()) return Refuse(same_content.status());
    if (!*same_content) {
      return Refuse(MakeError(absl::StatusCode::kAlreadyExists, conflict, text));
    }
    result().payload = stored;
  }

  // Whether token and fence identify the current claim; otherwise rejects the operation.
  bool Holds(const ClaimToken& token, uint64_t fence) {
    if (const auto ended = Ended()) {
      Refuse(EndedError(*ended));
    } else if (!state().input && !state().output) {
      Refuse(UnknownError());
    } else if (!state().output) {
      Refuse(MakeError(absl::StatusCode::kFailedPrecondition, Reason::kOutputPending,
                       "the call has no output yet"));
    } else if (!state().claim || state().claim->token != token || state().claim->fence != fence) {
      Refuse(ClaimLostError());
    } else {
      return true;
    }
    return false;
  }

  int64_t LeaseEnd(const Claim& claim, int64_t lease_ms, bool total_is_bounded) {
    const int64_t now_ms = context_.now.elapsed_ms;
    const int64_t left_ms = DeadlineOf(*state().output, context_) - context_.now.steady_ms;
    const int64_t end_ms = now_ms + std::min(lease_ms, left_ms);
    if (!total_is_bounded) return end_ms;
    return std::min(end_ms, claim.claimed_ms + context_.lease_total_max_ms);
  }

  void GiveClaim() {
    result().payload = state().output;
    result().claim = state().claim;
    result().lease_end_ms = LeaseEndForClients();
  }

  // In steady time.
  int64_t LeaseEndForClients() {
    return context_.now.steady_ms + state().claim->lease_end_ms - context_.now.elapsed_ms;
  }

  int64_t End(EndReason reason, const TokenHash& token) {
    Tombstone tombstone{.reason = reason,
                        .ended_ms = context_.now.steady_ms,
                        .forget_ms = context_.now.steady_ms + context_.tombstone_ttl_ms,
                        .token = token,
                        .input = {},
                        .output = {}};
    if (state().input) tombstone.input = state().input->slot;
    if (state().output) tombstone.output = state().output->slot;
    effects().remove_input = std::exchange(state().input, std::nullopt);
    effects().remove_output = std::exchange(state().output, std::nullopt);
    effects().tombstone = state().tombstone = tombstone;
    state().claim.reset();
    return tombstone.ended_ms;
  }

  const ApplyContext& context_;
  Applied applied_;
  std::optional<EndReason> forgotten_;  // reason of an expired tombstone that still exists
};

}  // namespace

Applied Apply(const CallState& state, const Operation& operation, const ApplyContext& context) {
  Application application(state, context);
  std::visit(application, operation);
  return application.Take();
}

int64_t ReadableUntilMs(const StoredPayload& payload, const ApplyContext& context) {
  return DeadlineOf(payload, context);
}

bool IsReadable(const StoredPayload& payload, const ApplyContext& context) {
  return !IsPast(payload, context, context.now.read_ms);
}

bool IsErasable(const StoredPayload& payload, const ApplyContext& context) {
  // Ignore dead_before while the clock from which it was computed is not trusted.
  if (context.now.erase_ms == Now::kNeverMs) return payload.erased;
  return IsPast(payload, context, context.now.erase_ms);
}

bool HasLapsed(const Claim& claim, const Now& now) { return claim.lease_end_ms <= now.elapsed_ms; }

}  // namespace mayfly
