#include "client/claim_poll.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "client/batch_call.h"
#include "client/convert.h"
#include "client/limits.h"
#include "client/random.h"
#include "client/rpcs.h"

namespace mayfly::client {

void ClaimPoll::Begin(std::shared_ptr<Core> core, std::vector<std::string> call_ids,
                      const ClaimOptions& options, Done done) {
  if (call_ids.size() > kBatchItemsMax) {
    return done(
        LimitError(Reason::kFieldInvalid, "call_ids count", call_ids.size(), kBatchItemsMax, ""));
  }
  if (IsCancelled(options.cancellation)) {
    return Dispatcher::Post(core->dispatcher(),
                            [done = std::move(done)]() mutable { done(CancelledByCaller()); });
  }
  const auto poll =
      std::make_shared<ClaimPoll>(core, std::move(call_ids), options, std::move(done));
  poll->Start();
  poll->CancelWith(options.cancellation);
}

ClaimPoll::ClaimPoll(const std::shared_ptr<Core>& core_of_client, std::vector<std::string> call_ids,
                     const ClaimOptions& options, Done done)
    : RpcCall(core_of_client, {.call = &v1::FunctionIo::StubInterface::AsyncClaimOutputs},
              TimeBudget(options.wait + TimeoutOf(*core_of_client, options))),
      wait_(options.wait),
      fresh_token_for_each_poll_(options.token.empty()),
      claim_larger_(options.claim_larger),
      done_(std::move(done)) {
  for (std::string& call_id : call_ids) request()->add_call_ids(std::move(call_id));
  request()->set_max_count(options.count_max);
  request()->set_max_bytes(options.bytes_max > 0 ? options.bytes_max
                                                 : core()->options().batch_bytes_max);
  ToProto(options.lease, request()->mutable_lease());
  request()->set_ack_mode(static_cast<v1::AckMode>(options.ack_mode));
  request()->set_claim_token(fresh_token_for_each_poll_ ? NewClaimToken() : options.token);
}

absl::Duration ClaimPoll::Prepare() {
  wait_left_before_ = wait_.Left();
  poll_wait_ = std::min(wait_left_before_, kPollWaitMax);
  ToProto(poll_wait_, request()->mutable_wait());
  return poll_wait_;
}

ClaimPoll::Next ClaimPoll::OnResponse(v1::ClaimOutputsResponse* response) {
  for (v1::ClaimedOutput& output : *response->mutable_outputs()) TakeOutput(&output);
  for (const v1::EndedCall& ended : response->ended()) {
    result_.errors.push_back({ended.call_id(), StatusFromProto(ended.status())});
  }
  result_.pending_count = response->pending_count();
  const absl::Duration left = wait_.Left();
  if (!result_.outputs.empty() || !result_.errors.empty() || left <= absl::ZeroDuration()) {
    return Next::kEnd;
  }
  if (fresh_token_for_each_poll_) request()->set_claim_token(NewClaimToken());
  // A server that is draining answers its polls early. Polling again at once would be a busy loop.
  const bool answered_early = wait_left_before_ - left < poll_wait_ / 2;
  return answered_early ? Next::kAgainLater : Next::kAgain;
}

Completion::Then ClaimPoll::OnEnd(const absl::Status& status) {
  if (!status.ok()) {
    for (ClaimedOutput& output : result_.outputs) unread_.push_back(std::move(output.claim));
  }
  ReleaseUnread();
  absl::StatusOr<ClaimedOutputs> result = std::move(result_);
  if (!status.ok()) result = status;
  return
      [done = std::move(done_), result = std::move(result)]() mutable { done(std::move(result)); };
}

void ClaimPoll::TakeOutput(v1::ClaimedOutput* output) {
  Claim claim{.call_id = output->call_id(),
              .token = request()->claim_token(),
              .fence = output->fence(),
              .crc32c = std::nullopt};
  absl::StatusOr<ClaimedOutput> taken = absl::OutOfRangeError(absl::StrCat(
      "output is ", output->size_bytes(), " bytes, bytes_max is ", request()->max_bytes()));
  if (output->has_payload() || claim_larger_) taken = FromProto(request()->claim_token(), output);
  if (taken.ok()) {
    result_.outputs.push_back(*std::move(taken));
    return;
  }
  result_.errors.push_back({claim.call_id, taken.status()});
  unread_.push_back(std::move(claim));
}

void ClaimPoll::ReleaseUnread() {
  if (unread_.empty()) return;
  // Nobody waits for the answer: a claim that is not released lapses.
  BatchCall<ReleaseOutputsRpc>::Start(core(), std::move(unread_), {},
                                      TimeBudget(core()->options().timeout),
                                      [](std::vector<absl::Status>) {});
}

}  // namespace mayfly::client
