// ClaimOutputs as the public client has it: waits of any length, made of polls that the server
// allows. Each poll has a claim token of its own; the repetition of a poll whose answer was lost
// has the same, and gets the same outputs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

#include "client/rpc_call.h"
#include "mayfly/call.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

class ClaimPoll : public RpcCall<v1::ClaimOutputsRequest, v1::ClaimOutputsResponse> {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<ClaimedOutputs>)>;

  // INVALID_ARGUMENT, through `done`, for more call ids than one poll may have.
  static void Begin(std::shared_ptr<Core> core, std::vector<std::string> call_ids,
                    const ClaimOptions& options, Done done);

  ClaimPoll(const std::shared_ptr<Core>& core_of_client, std::vector<std::string> call_ids,
            const ClaimOptions& options, Done done);

 private:
  absl::Duration Prepare() override;
  Next OnResponse(v1::ClaimOutputsResponse* response) override;
  Then OnEnd(const absl::Status& status) override;

  void TakeOutput(v1::ClaimedOutput* output);
  void ReleaseUnread();

  const TimeBudget wait_;
  const bool fresh_token_for_each_poll_;
  const bool claim_larger_;
  absl::Duration wait_left_before_ = absl::ZeroDuration();  // the poll under way
  absl::Duration poll_wait_ = absl::ZeroDuration();
  Done done_;
  CancellationHook hook_;
  ClaimedOutputs result_;
  std::vector<Claim> unread_;  // claimed, but of no use to the caller
};

}  // namespace mayfly::client
