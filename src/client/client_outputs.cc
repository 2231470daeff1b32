#include <utility>

#include "base/error.h"
#include "client/await.h"
#include "client/awaited_outputs.h"
#include "client/batch_call.h"
#include "client/batchers.h"
#include "client/claim_poll.h"
#include "client/core.h"
#include "client/download_transfer.h"
#include "client/large_payloads.h"
#include "client/output_stream_state.h"
#include "client/retrieval.h"
#include "client/rpcs.h"
#include "mayfly/client.h"

namespace mayfly::client {
namespace {

// The claims may be held: they are the caller's until the server has answered.
template <typename T>
Client::Callback<T> ForgetAfterwards(const Core& core, std::vector<Claim> claims,
                                     Client::Callback<T> done) {
  return [holdings = std::weak_ptr<Holdings>(core.awaited_outputs()->holdings()->weak_from_this()),
          claims = std::move(claims), done = std::move(done)](T results) mutable {
    if (const auto held = holdings.lock()) {
      for (const Claim& claim : claims) held->Forget(claim);
    }
    done(std::move(results));
  };
}

}  // namespace

// ---- ClaimOutputs

void Client::ClaimOutputsAsync(std::vector<std::string> call_ids,
                               Callback<absl::StatusOr<ClaimedOutputs>> done,
                               ClaimOptions options) const {
  ClaimPoll::Begin(core_, std::move(call_ids), options, std::move(done));
}

absl::StatusOr<ClaimedOutputs> Client::ClaimOutputs(std::vector<std::string> call_ids,
                                                    ClaimOptions options) const {
  return Await<absl::StatusOr<ClaimedOutputs>>(
      *core_, [&](auto done) { ClaimOutputsAsync(std::move(call_ids), std::move(done), options); });
}

absl::StatusOr<ClaimedOutput> Client::DownloadOutput(const ClaimedOutput& output, PayloadSink* sink,
                                                     CallOptions options) const {
  core_->CheckMayWait();
  return DownloadTransfer(core_, sink, options).RunOutput(output);
}

// ---- AckOutputs

void Client::AckOutputsAsync(std::vector<Claim> claims, Callback<Results<absl::Time>> done,
                             CallOptions options) const {
  auto forget = ForgetAfterwards<Results<absl::Time>>(*core_, claims, std::move(done));
  BatchCall<AckOutputsRpc>::Start(core_, std::move(claims), {},
                                  TimeBudget(TimeoutOf(*core_, options)), std::move(forget),
                                  options.cancellation);
}

Client::Results<absl::Time> Client::AckOutputs(std::vector<Claim> claims,
                                               CallOptions options) const {
  return Await<Results<absl::Time>>(
      *core_, [&](auto done) { AckOutputsAsync(std::move(claims), std::move(done), options); });
}

void Client::AckOutputAsync(Claim claim, Callback<absl::StatusOr<absl::Time>> done,
                            CallOptions options) const {
  core_->awaited_outputs()->holdings()->Ack(core_, std::move(claim), TimeoutOf(*core_, options),
                                            options.cancellation, std::move(done));
}

absl::StatusOr<absl::Time> Client::AckOutput(Claim claim, CallOptions options) const {
  return Await<absl::StatusOr<absl::Time>>(
      *core_, [&](auto done) { AckOutputAsync(std::move(claim), std::move(done), options); });
}

Client::Future<absl::Time> Client::AckOutputFuture(Claim claim, CallOptions options) const {
  return FutureOf<absl::StatusOr<absl::Time>>(
      [&](auto done) { AckOutputAsync(std::move(claim), std::move(done), options); });
}

// ---- ReleaseOutputs

void Client::ReleaseOutputsAsync(std::vector<Claim> claims,
                                 Callback<std::vector<absl::Status>> done,
                                 CallOptions options) const {
  auto forget = ForgetAfterwards<std::vector<absl::Status>>(*core_, claims, std::move(done));
  BatchCall<ReleaseOutputsRpc>::Start(core_, std::move(claims), {},
                                      TimeBudget(TimeoutOf(*core_, options)), std::move(forget),
                                      options.cancellation);
}

std::vector<absl::Status> Client::ReleaseOutputs(std::vector<Claim> claims,
                                                 CallOptions options) const {
  return Await<std::vector<absl::Status>>(
      *core_, [&](auto done) { ReleaseOutputsAsync(std::move(claims), std::move(done), options); });
}

void Client::ReleaseOutputAsync(Claim claim, Callback<absl::Status> done,
                                CallOptions options) const {
  core_->awaited_outputs()->holdings()->Release(core_, std::move(claim), TimeoutOf(*core_, options),
                                                options.cancellation, std::move(done));
}

absl::Status Client::ReleaseOutput(Claim claim, CallOptions options) const {
  return Await<absl::Status>(
      *core_, [&](auto done) { ReleaseOutputAsync(std::move(claim), std::move(done), options); });
}

std::future<absl::Status> Client::ReleaseOutputFuture(Claim claim, CallOptions options) const {
  return FutureOf<absl::Status>(
      [&](auto done) { ReleaseOutputAsync(std::move(claim), std::move(done), options); });
}

// ---- RenewClaims

void Client::RenewClaimsAsync(std::vector<Claim> claims, absl::Duration lease,
                              Callback<Results<absl::Time>> done, CallOptions options) const {
  v1::RenewClaimsRequest prototype;
  ToProto(lease, prototype.mutable_lease());
  BatchCall<RenewClaimsRpc>::Start(core_, std::move(claims), std::move(prototype),
                                   TimeBudget(TimeoutOf(*core_, options)), std::move(done),
                                   options.cancellation);
}

Client::Results<absl::Time> Client::RenewClaims(std::vector<Claim> claims, absl::Duration lease,
                                                CallOptions options) const {
  return Await<Results<absl::Time>>(*core_, [&](auto done) {
    RenewClaimsAsync(std::move(claims), lease, std::move(done), options);
  });
}

absl::StatusOr<absl::Time> Client::RenewClaim(Claim claim, absl::Duration lease,
                                              CallOptions options) const {
  return std::move(RenewClaims({std::move(claim)}, lease, options).front());
}

void Client::RenewClaimAsync(Claim claim, absl::Duration lease,
                             Callback<absl::StatusOr<absl::Time>> done, CallOptions options) const {
  RenewClaimsAsync(
      {std::move(claim)}, lease,
      [done = std::move(done)](Results<absl::Time> results) mutable {
        done(std::move(results.front()));
      },
      std::move(options));
}

Client::Future<absl::Time> Client::RenewClaimFuture(Claim claim, absl::Duration lease,
                                                    CallOptions options) const {
  return FutureOf<absl::StatusOr<absl::Time>>(
      [&](auto done) { RenewClaimAsync(std::move(claim), lease, std::move(done), options); });
}

// ---- Retrieve, AwaitOutput

absl::StatusOr<absl::Time> Client::Retrieve(
    const std::string& call_id,
    absl::FunctionRef<absl::Status(const ClaimedOutput& output)> consume,
    RetrieveOptions options) const {
  const auto consume_whole = [&](ClaimedOutput* output) -> absl::Status {
    if (output->data_omitted) {
      absl::StatusOr<ClaimedOutput> whole = DownloadOutputToMemory(
          core_, *output, core_->options().data_bytes_max, TransferOptions(options));
      RETURN_IF_ERROR(whole.status());
      *output = *std::move(whole);
      core_->awaited_outputs()->holdings()->Hold(core_, *output, options.lease);
    }
    return consume(*output);
  };
  return Retrieval(core_, call_id, consume_whole, options).Run();
}

absl::StatusOr<Retrieved> Client::RetrieveInto(const std::string& call_id, PayloadSink* sink,
                                               RetrieveOptions options) const {
  Retrieved retrieved;
  const auto write = [&](ClaimedOutput* output) -> absl::Status {
    if (output->data_omitted) {
      absl::StatusOr<ClaimedOutput> whole =
          DownloadTransfer(core_, sink, TransferOptions(options)).RunOutput(*output);
      RETURN_IF_ERROR(whole.status());
      *output = *std::move(whole);
      core_->awaited_outputs()->holdings()->Hold(core_, *output, options.lease);
    } else {
      RETURN_IF_ERROR(
          sink->KeptBytes({.attempt = output->attempt, .size_bytes = output->size_bytes}).status());
      const std::string data = std::exchange(output->payload.data, std::string());
      if (!data.empty()) RETURN_IF_ERROR(sink->WriteAt(0, data));
      RETURN_IF_ERROR(sink->Finish(data.size()));
      output->data_omitted = true;
    }
    retrieved.output = *output;
    return options.before_ack ? options.before_ack(*output) : absl::OkStatus();
  };
  const absl::StatusOr<absl::Time> erased = Retrieval(core_, call_id, write, options).Run();
  RETURN_IF_ERROR(erased.status());
  retrieved.erased = *erased;
  return retrieved;
}

void Client::AwaitOutputAsync(std::string call_id, Callback<absl::StatusOr<ClaimedOutput>> done,
                              RetrieveOptions options) const {
  core_->awaited_outputs()->Await(core_, std::move(call_id), options,
                                  [core = core_, done = std::move(done),
                                   options](absl::StatusOr<ClaimedOutput> output) mutable {
                                    if (output.ok() && output->data_omitted) {
                                      return QueueOutputDownload(core, *std::move(output), options,
                                                                 std::move(done));
                                    }
                                    core = nullptr;
                                    done(std::move(output));
                                  });
}

absl::StatusOr<ClaimedOutput> Client::AwaitOutput(const std::string& call_id,
                                                  RetrieveOptions options) const {
  absl::StatusOr<ClaimedOutput> output = AwaitHeld(core_, call_id, options);
  if (!output.ok() || !output->data_omitted) return output;
  return DownloadHeldOutput(core_, *output, options.lease, TransferOptions(options));
}

Client::Future<ClaimedOutput> Client::AwaitOutputFuture(std::string call_id,
                                                        RetrieveOptions options) const {
  return FutureOf<absl::StatusOr<ClaimedOutput>>(
      [&](auto done) { AwaitOutputAsync(std::move(call_id), std::move(done), options); });
}

OutputStream Client::StreamOutputs(OutputStreamOptions options,
                                   OutputStream::OnEvent on_event) const {
  return OutputStream(OutputStream::State::New(core_, options, std::move(on_event)));
}

}  // namespace mayfly::client
