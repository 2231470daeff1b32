#include "client/retrieval.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "client/lease_keeper.h"
#include "client/limits.h"

namespace mayfly::client {
namespace {

// Each round has lost a claim to a restart or a lapse; a server that never lets an ack through is
// not worth more.
constexpr int kRoundsMax = 10;

absl::Status ClaimLostError() {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kClaimLost,
                   "the claim was lost before the ack, and another client has it now");
}

absl::Status OutputPendingError(absl::Duration wait) {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kOutputPending,
                   absl::StrCat("no output yet, after a wait of ", absl::FormatDuration(wait)));
}

}  // namespace

Retrieval::Retrieval(std::shared_ptr<Core> core, std::string call_id, Consume consume,
                     const RetrieveOptions& options)
    : core_(core),
      client_(std::move(core)),
      call_id_(std::move(call_id)),
      consume_(consume),
      options_(options) {}

absl::StatusOr<absl::Time> Retrieval::Run() {
  absl::StatusOr<ClaimedOutput> output = ClaimOne(options_.wait, "");
  for (int round = 0; round < kRoundsMax; ++round) {
    if (ReasonOf(output.status()) == Reason::kOutputPending && delivered_.has_value()) {
      return ClaimLostError();
    }
    RETURN_IF_ERROR(output.status());
    RETURN_IF_ERROR(Deliver(*output));
    absl::StatusOr<absl::Time> ack =
        client_.AckOutput(output->claim, {.timeout = options_.timeout});
    if (ReasonOf(ack.status()) != Reason::kClaimLost) return ack;
    // The server forgets its claims when it restarts, and leases lapse. The token is the same, so
    // that an ack that was carried out after all is recognised as this one.
    output = ClaimOne(absl::ZeroDuration(), std::string(output->claim.token));
  }
  return ClaimLostError();
}

absl::StatusOr<ClaimedOutput> Retrieval::ClaimOne(absl::Duration wait,
                                                  const std::string& token) const {
  absl::StatusOr<ClaimedOutputs> claimed =
      client_.ClaimOutputs({call_id_}, {.wait = wait,
                                        .lease = options_.lease,
                                        .count_max = 1,
                                        .bytes_max = kMessageBytesMax,
                                        .token = token,
                                        .timeout = options_.timeout});
  RETURN_IF_ERROR(claimed.status());
  if (!claimed->errors.empty()) return claimed->errors[0].status;
  if (claimed->outputs.empty()) return OutputPendingError(wait);
  return std::move(claimed->outputs[0]);
}

absl::Status Retrieval::Deliver(const ClaimedOutput& output) {
  const Identity identity{.attempt = output.attempt,
                          .size_bytes = output.payload.data.size(),
                          .crc32c = output.claim.crc32c};
  if (delivered_ == identity) return absl::OkStatus();
  absl::Status status;
  {
    LeaseKeeper keeper(core_, output.claim, options_.lease);
    status = consume_(output);
  }
  if (status.ok()) {
    delivered_ = identity;
    return status;
  }
  // The caller's error matters more than whether this succeeds: the claim lapses anyway.
  client_.ReleaseOutput(output.claim, {.timeout = options_.timeout}).IgnoreError();
  return status;
}

}  // namespace mayfly::client
