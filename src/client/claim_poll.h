// A ClaimPoll is one Client::ClaimOutputs. It waits for any length of time by polling the server
// for as long as the server allows, again and again.
//
// Each poll has a claim token of its own. A poll that is repeated because its answer was lost has
// the same token, and gets the same outputs.
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

  // `done` gets INVALID_ARGUMENT, at once, for more call ids than one poll may have.
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
  absl::Duration wait_left_before_ = absl::ZeroDuration();  // when the poll under way began
  absl::Duration poll_wait_ = absl::ZeroDuration();
  Done done_;
  ClaimedOutputs result_;
  std::vector<Claim> unread_;  // claimed, but of no use to the caller
};

}  // namespace mayfly::client
