#include "client/retrieval.h"

#include <utility>

#include "base/error.h"
#include "client/await.h"
#include "client/outputs.h"

namespace mayfly::client {
namespace {

// Each round has lost a claim to a restart or a lapse; a server that never lets an ack through is
// not worth more.
constexpr int kRoundsMax = 10;

absl::Status ClaimLostError() {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kClaimLost,
                   "the claim was lost before the ack, and another client has it now");
}

}  // namespace

absl::StatusOr<ClaimedOutput> AwaitHeld(const std::shared_ptr<Core>& core,
                                        const std::string& call_id,
                                        const RetrieveOptions& options) {
  return Await<absl::StatusOr<ClaimedOutput>>(
      *core, [&](auto done) { core->outputs()->Await(core, call_id, options, std::move(done)); });
}

Retrieval::Retrieval(std::shared_ptr<Core> core, std::string call_id, Consume consume,
                     const RetrieveOptions& options)
    : core_(core),
      client_(std::move(core)),
      call_id_(std::move(call_id)),
      consume_(consume),
      options_(options),
      call_options_({.timeout = options.timeout, .cancellation = options.cancellation}) {}

absl::StatusOr<absl::Time> Retrieval::Run() {
  absl::StatusOr<ClaimedOutput> output = Await(options_.wait);
  for (int round = 0; round < kRoundsMax; ++round) {
    if (ReasonOf(output.status()) == Reason::kOutputPending && delivered_.has_value()) {
      return ClaimLostError();
    }
    RETURN_IF_ERROR(output.status());
    RETURN_IF_ERROR(Deliver(&*output));
    absl::StatusOr<absl::Time> ack = client_.AckOutput(output->claim, call_options_);
    if (ReasonOf(ack.status()) != Reason::kClaimLost) return ack;
    // Somebody else has it, or a later attempt replaced it.
    output = Await(absl::ZeroDuration());
  }
  return ClaimLostError();
}

absl::StatusOr<ClaimedOutput> Retrieval::Await(absl::Duration wait) const {
  RetrieveOptions options = options_;
  options.wait = wait;
  return AwaitHeld(core_, call_id_, options);
}

absl::Status Retrieval::Deliver(ClaimedOutput* output) {
  const Identity identity{.attempt = output->attempt, .size_bytes = output->size_bytes};
  if (delivered_ == identity) return absl::OkStatus();
  const absl::Status status = consume_(output);
  if (status.ok()) {
    delivered_ = {.attempt = output->attempt, .size_bytes = output->size_bytes};
    return status;
  }
  // The caller's error matters more than whether this succeeds: the claim lapses anyway.
  client_.ReleaseOutput(output->claim, {.timeout = options_.timeout}).IgnoreError();
  return status;
}

}  // namespace mayfly::client
