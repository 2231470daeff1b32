#include "client/ack_operation.h"

#include <utility>

#include "client/batchers.h"
#include "client/claim_poll.h"

namespace mayfly::client {

void Holdings::AckOperation::Send(const std::shared_ptr<Core>& core) {
  core->batchers()->ack_outputs()->Submit(
      core, claim_, Left(), std::nullopt,
      [self = SharedFrom(this)](absl::StatusOr<absl::Time> result) {
        self->OnAnswer(std::move(result));
      });
}

void Holdings::AckOperation::OnAnswer(absl::StatusOr<absl::Time> result) {
  if (IsFinished()) return;
  const bool is_lost = ReasonOf(result.status()) == Reason::kClaimLost;
  if (is_lost && version_.has_value() && ++reclaims_ < kReclaimsMax) return Reclaim();
  if (absl::IsDeadlineExceeded(result.status())) result = NoAnswerWithin(timeout());
  End(std::move(result));
}

void Holdings::AckOperation::Reclaim() {
  ClaimPoll::Begin(
      core(), {claim_.call_id}, ReclaimOptions(claim_.token, Left()),
      [self = SharedFrom(this),
       weak_core = std::weak_ptr<Core>(core())](absl::StatusOr<ClaimedOutputs> claimed) {
        self->OnReclaimed(
            weak_core, OnlyOutput(std::move(claimed), ClaimLostError("another client has it now")));
      });
}

void Holdings::AckOperation::OnReclaimed(const std::weak_ptr<Core>& weak_core,
                                         absl::StatusOr<ClaimedOutput> output) {
  if (!output.ok()) return End(output.status());
  if (!IsFinished() && VersionOf(*output) == version_) {
    claim_.token = std::move(output->claim.token);
    claim_.fence = output->claim.fence;
    return Send(core());
  }
  const std::shared_ptr<Core> core = weak_core.lock();
  if (core == nullptr) return;  // the last copy of the client is gone: the claim lapses
  core->batchers()->release_outputs()->Submit(
      core, std::move(output->claim), timeout(), std::nullopt,
      [self = SharedFrom(this)](const absl::Status&) {
        self->End(ClaimLostError("a later attempt replaced the output"));
      });
}

}  // namespace mayfly::client
