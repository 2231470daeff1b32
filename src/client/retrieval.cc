#include "client/retrieval.h"

#include <utility>

#include "client/await.h"
#include "client/awaited_outputs.h"

namespace mayfly::client {

absl::StatusOr<ClaimedOutput> AwaitHeld(const std::shared_ptr<Core>& core,
                                        const std::string& call_id,
                                        const RetrieveOptions& options) {
  return Await<absl::StatusOr<ClaimedOutput>>(*core, [&](auto done) {
    core->awaited_outputs()->Await(core, call_id, options, std::move(done));
  });
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
  for (int round = 0; round < kReclaimsMax; ++round) {
    if (ReasonOf(output.status()) == Reason::kOutputPending && delivered_.has_value()) {
      return ClaimLostError("another client has it now");
    }
    RETURN_IF_ERROR(output.status());
    RETURN_IF_ERROR(Deliver(&*output));
    absl::StatusOr<absl::Time> ack = client_.AckOutput(output->claim, call_options_);
    if (ReasonOf(ack.status()) != Reason::kClaimLost) return ack;
    // Another client has the output, or a later attempt replaced it.
    output = Await(absl::ZeroDuration());
  }
  return ClaimLostError("another client has it now");
}

absl::StatusOr<ClaimedOutput> Retrieval::Await(absl::Duration wait) const {
  RetrieveOptions options = options_;
  options.wait = wait;
  return AwaitHeld(core_, call_id_, options);
}

absl::Status Retrieval::Deliver(ClaimedOutput* output) {
  if (delivered_ == VersionOf(*output)) return absl::OkStatus();
  const absl::Status status = consume_(output);
  if (status.ok()) {
    delivered_ = VersionOf(*output);
    return status;
  }
  // The caller's error matters more than whether this succeeds: the claim lapses anyway.
  client_.ReleaseOutput(output->claim, {.timeout = options_.timeout}).IgnoreError();
  return status;
}

}  // namespace mayfly::client
