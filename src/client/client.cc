#include "mayfly/client.h"

#include <algorithm>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/call_id.h"
#include "base/check.h"
#include "base/error.h"
#include "client/await.h"
#include "client/batch.h"
#include "client/claim_poll.h"
#include "client/core.h"
#include "client/download.h"
#include "client/outputs.h"
#include "client/queued_transfer.h"
#include "client/random.h"
#include "client/reception.h"
#include "client/retrieval.h"
#include "client/rpcs.h"
#include "client/singles.h"
#include "client/upload.h"

namespace mayfly::client {
namespace {

constexpr size_t kCallIdRandomBytes = 10;

template <typename T>
T Only(std::vector<T> results) {
  return std::move(results[0]);
}

template <typename T>
std::vector<T> OneItem(T item) {
  std::vector<T> items;
  items.push_back(std::move(item));
  return items;
}

absl::Duration TimeoutOf(const Core& core, const CallOptions& options) {
  constexpr absl::Duration kLongest = absl::Hours(24 * 365);
  return std::min(
      kLongest, options.timeout > absl::ZeroDuration() ? options.timeout : core.options().timeout);
}

TimeBudget BudgetOf(const Core& core, const CallOptions& options) {
  return TimeBudget(TimeoutOf(core, options));
}

// Runs `start` with a callback that fulfils the future.
template <typename T, typename Start>
std::future<T> FutureOf(Start start) {
  auto promise = std::make_shared<std::promise<T>>();
  std::future<T> future = promise->get_future();
  start([promise](T value) { promise->set_value(std::move(value)); });
  return future;
}

template <typename Put>
bool IsLarge(const Put& put) {
  return put.payload.data.size() > kMessageDataBytesMax;
}

template <typename Put>
absl::StatusOr<Stored> UploadData(const std::shared_ptr<Core>& core, Put put,
                                  const CallOptions& options) {
  StringSource source(std::exchange(put.payload.data, std::string()));
  return Upload(core, std::move(put), &source, options).Run();
}

template <typename Put>
void QueueUpload(std::shared_ptr<Core> core, Put put, CallOptions options,
                 Client::Callback<absl::StatusOr<Stored>> done) {
  QueuedTransfer<absl::StatusOr<Stored>>::Start(
      std::move(core), std::move(options),
      [put = std::move(put)](const std::shared_ptr<Core>& owner, const CallOptions& rest) mutable {
        return UploadData(owner, std::move(put), rest);
      },
      std::move(done));
}

template <typename Put>
absl::StatusOr<Stored> UploadFrom(const std::shared_ptr<Core>& core, Put put, PayloadSource* source,
                                  const CallOptions& options) {
  Check(!core->IsOwnThread(), "a callback of a client does not wait for the client");
  if (!put.payload.data.empty()) {
    return FieldError("payload.data", absl::StrCat(put.payload.data.size(), " bytes"),
                      "wants none beside a source");
  }
  return Upload(core, std::move(put), source, options).Run();
}

CallOptions TransferOptions(const RetrieveOptions& options) {
  return {.timeout = options.timeout,
          .cancellation = options.cancellation,
          .progress = options.progress};
}

void GiveBack(const std::shared_ptr<Core>& core, const Claim& claim) {
  core->outputs()->holdings()->Release(core, claim, core->options().timeout, std::nullopt,
                                       [](const absl::Status&) {});
}

// They may be held: until the server has answered, the claims are somebody's.
template <typename T>
Client::Callback<T> ForgetAfterwards(const Core& core, std::vector<Claim> claims,
                                     Client::Callback<T> done) {
  return [holdings = std::weak_ptr<Holdings>(core.outputs()->holdings()->weak_from_this()),
          claims = std::move(claims), done = std::move(done)](T results) mutable {
    if (const auto held = holdings.lock()) {
      for (const Claim& claim : claims) held->Forget(claim);
    }
    done(std::move(results));
  };
}

// Into memory; the output stays held, or is released.
absl::StatusOr<ClaimedOutput> BringData(const std::shared_ptr<Core>& core,
                                        const ClaimedOutput& output, absl::Duration lease,
                                        const CallOptions& options) {
  absl::StatusOr<ClaimedOutput> whole =
      DownloadOutputToMemory(core, output, core->options().data_bytes_max, options);
  if (whole.ok()) {
    core->outputs()->holdings()->Hold(core, *whole, lease);
  } else {
    GiveBack(core, output.claim);
  }
  return whole;
}

void QueueDownload(std::shared_ptr<Core> core, ClaimedOutput output, const RetrieveOptions& options,
                   Client::Callback<absl::StatusOr<ClaimedOutput>> done) {
  auto give_up = [claim = output.claim](const std::shared_ptr<Core>& owner) {
    GiveBack(owner, claim);
  };
  QueuedTransfer<absl::StatusOr<ClaimedOutput>>::Start(
      std::move(core), TransferOptions(options),
      [output = std::move(output), lease = options.lease](const std::shared_ptr<Core>& owner,
                                                          const CallOptions& rest) {
        return BringData(owner, output, lease, rest);
      },
      std::move(done), std::move(give_up));
}

}  // namespace

std::string MintCallId() {
  uint8_t random[kCallIdRandomBytes];
  FillFromKernel(MutableByteSpan(random));
  return CallId::Mint(absl::Now(), ByteSpan(random)).ToString();
}

absl::StatusOr<Client> Client::Connect(const ClientOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  auto credentials = ReadCredentials(options);
  RETURN_IF_ERROR(credentials.status());
  return Client(std::make_shared<Core>(*std::move(credentials), options));
}

Client::Client(std::shared_ptr<Core> core) : core_(std::move(core)) {}

// ---- PutInputs

void Client::PutInputsAsync(std::vector<Input> inputs, Callback<Results<Stored>> done,
                            CallOptions options) const {
  for (Input& input : inputs) {
    if (input.call_id.empty()) input.call_id = MintCallId();
  }
  Batch<PutInputsRpc>::Start(core_, std::move(inputs), {}, BudgetOf(*core_, options),
                             std::move(done), options.cancellation);
}

Client::Results<Stored> Client::PutInputs(std::vector<Input> inputs, CallOptions options) const {
  return Await<Results<Stored>>(
      *core_, [&](auto done) { PutInputsAsync(std::move(inputs), std::move(done), options); });
}

void Client::PutInputAsync(Input input, Callback<absl::StatusOr<Stored>> done,
                           CallOptions options) const {
  if (input.call_id.empty()) input.call_id = MintCallId();
  if (IsLarge(input)) {
    return QueueUpload(core_, std::move(input), std::move(options), std::move(done));
  }
  core_->singles()->put_inputs()->Submit(core_, std::move(input), TimeoutOf(*core_, options),
                                         options.cancellation, std::move(done));
}

absl::StatusOr<Stored> Client::PutInput(Input input, CallOptions options) const {
  if (IsLarge(input)) {
    Check(!core_->IsOwnThread(), "a callback of a client does not wait for the client");
    if (input.call_id.empty()) input.call_id = MintCallId();
    return UploadData(core_, std::move(input), options);
  }
  return Await<absl::StatusOr<Stored>>(
      *core_, [&](auto done) { PutInputAsync(std::move(input), std::move(done), options); });
}

Client::Future<Stored> Client::PutInputFuture(Input input, CallOptions options) const {
  return FutureOf<absl::StatusOr<Stored>>(
      [&](auto done) { PutInputAsync(std::move(input), std::move(done), options); });
}

absl::StatusOr<Stored> Client::UploadInput(Input input, PayloadSource* source,
                                           CallOptions options) const {
  if (input.call_id.empty()) input.call_id = MintCallId();
  return UploadFrom(core_, std::move(input), source, options);
}

// ---- GetInputs

void Client::GetInputsAsync(std::vector<std::string> call_ids, Callback<Results<StoredInput>> done,
                            CallOptions options) const {
  v1::GetInputsRequest prototype;
  prototype.set_max_bytes(core_->options().batch_bytes_max);
  Batch<GetInputsRpc>::Start(core_, std::move(call_ids), std::move(prototype),
                             BudgetOf(*core_, options), std::move(done), options.cancellation);
}

Client::Results<StoredInput> Client::GetInputs(std::vector<std::string> call_ids,
                                               CallOptions options) const {
  return Await<Results<StoredInput>>(
      *core_, [&](auto done) { GetInputsAsync(std::move(call_ids), std::move(done), options); });
}

void Client::GetInputAsync(std::string call_id, Callback<absl::StatusOr<StoredInput>> done,
                           CallOptions options) const {
  core_->singles()->get_inputs()->Submit(
      core_, std::move(call_id), TimeoutOf(*core_, options), options.cancellation,
      [core = core_, done = std::move(done), options,
       begun = Elapsed()](absl::StatusOr<StoredInput> input) mutable {
        if (input.ok() && input->size_bytes > input->payload.data.size()) {
          if (options.timeout > absl::ZeroDuration()) {
            options.timeout = std::max(absl::Milliseconds(1), begun + options.timeout - Elapsed());
          }
          return QueuedTransfer<absl::StatusOr<StoredInput>>::Start(
              std::move(core), std::move(options),
              [input = *std::move(input)](const std::shared_ptr<Core>& owner,
                                          const CallOptions& rest) {
                return DownloadInputToMemory(owner, input.call_id, input.size_bytes, rest);
              },
              std::move(done));
        }
        core = nullptr;
        done(std::move(input));
      });
}

absl::StatusOr<StoredInput> Client::GetInput(const std::string& call_id,
                                             CallOptions options) const {
  return Await<absl::StatusOr<StoredInput>>(
      *core_, [&](auto done) { GetInputAsync(call_id, std::move(done), options); });
}

Client::Future<StoredInput> Client::GetInputFuture(std::string call_id, CallOptions options) const {
  return FutureOf<absl::StatusOr<StoredInput>>(
      [&](auto done) { GetInputAsync(std::move(call_id), std::move(done), options); });
}

absl::StatusOr<StoredInput> Client::DownloadInput(const std::string& call_id, PayloadSink* sink,
                                                  CallOptions options) const {
  Check(!core_->IsOwnThread(), "a callback of a client does not wait for the client");
  return Download(core_, sink, options).RunInput(call_id);
}

// ---- PutOutputs

void Client::PutOutputsAsync(std::vector<Output> outputs, Callback<Results<Stored>> done,
                             CallOptions options) const {
  Batch<PutOutputsRpc>::Start(core_, std::move(outputs), {}, BudgetOf(*core_, options),
                              std::move(done), options.cancellation);
}

Client::Results<Stored> Client::PutOutputs(std::vector<Output> outputs, CallOptions options) const {
  return Await<Results<Stored>>(
      *core_, [&](auto done) { PutOutputsAsync(std::move(outputs), std::move(done), options); });
}

void Client::PutOutputAsync(Output output, Callback<absl::StatusOr<Stored>> done,
                            CallOptions options) const {
  if (IsLarge(output)) {
    return QueueUpload(core_, std::move(output), std::move(options), std::move(done));
  }
  core_->singles()->put_outputs()->Submit(core_, std::move(output), TimeoutOf(*core_, options),
                                          options.cancellation, std::move(done));
}

absl::StatusOr<Stored> Client::PutOutput(Output output, CallOptions options) const {
  if (IsLarge(output)) {
    Check(!core_->IsOwnThread(), "a callback of a client does not wait for the client");
    return UploadData(core_, std::move(output), options);
  }
  return Await<absl::StatusOr<Stored>>(
      *core_, [&](auto done) { PutOutputAsync(std::move(output), std::move(done), options); });
}

Client::Future<Stored> Client::PutOutputFuture(Output output, CallOptions options) const {
  return FutureOf<absl::StatusOr<Stored>>(
      [&](auto done) { PutOutputAsync(std::move(output), std::move(done), options); });
}

absl::StatusOr<Stored> Client::UploadOutput(Output output, PayloadSource* source,
                                            CallOptions options) const {
  return UploadFrom(core_, std::move(output), source, options);
}

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
  Check(!core_->IsOwnThread(), "a callback of a client does not wait for the client");
  return Download(core_, sink, options).RunOutput(output);
}

// ---- AckOutputs

void Client::AckOutputsAsync(std::vector<Claim> claims, Callback<Results<absl::Time>> done,
                             CallOptions options) const {
  auto forget = ForgetAfterwards<Results<absl::Time>>(*core_, claims, std::move(done));
  Batch<AckOutputsRpc>::Start(core_, std::move(claims), {}, BudgetOf(*core_, options),
                              std::move(forget), options.cancellation);
}

Client::Results<absl::Time> Client::AckOutputs(std::vector<Claim> claims,
                                               CallOptions options) const {
  return Await<Results<absl::Time>>(
      *core_, [&](auto done) { AckOutputsAsync(std::move(claims), std::move(done), options); });
}

void Client::AckOutputAsync(Claim claim, Callback<absl::StatusOr<absl::Time>> done,
                            CallOptions options) const {
  core_->outputs()->holdings()->Ack(core_, std::move(claim), TimeoutOf(*core_, options),
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
  Batch<ReleaseOutputsRpc>::Start(core_, std::move(claims), {}, BudgetOf(*core_, options),
                                  std::move(forget), options.cancellation);
}

std::vector<absl::Status> Client::ReleaseOutputs(std::vector<Claim> claims,
                                                 CallOptions options) const {
  return Await<std::vector<absl::Status>>(
      *core_, [&](auto done) { ReleaseOutputsAsync(std::move(claims), std::move(done), options); });
}

absl::Status Client::ReleaseOutput(Claim claim, CallOptions options) const {
  return Await<absl::Status>(*core_, [&](auto done) {
    core_->outputs()->holdings()->Release(core_, std::move(claim), TimeoutOf(*core_, options),
                                          options.cancellation, std::move(done));
  });
}

// ---- RenewClaims

void Client::RenewClaimsAsync(std::vector<Claim> claims, absl::Duration lease,
                              Callback<Results<absl::Time>> done, CallOptions options) const {
  v1::RenewClaimsRequest prototype;
  ToProto(lease, prototype.mutable_lease());
  Batch<RenewClaimsRpc>::Start(core_, std::move(claims), std::move(prototype),
                               BudgetOf(*core_, options), std::move(done), options.cancellation);
}

Client::Results<absl::Time> Client::RenewClaims(std::vector<Claim> claims, absl::Duration lease,
                                                CallOptions options) const {
  return Await<Results<absl::Time>>(*core_, [&](auto done) {
    RenewClaimsAsync(std::move(claims), lease, std::move(done), options);
  });
}

absl::StatusOr<absl::Time> Client::RenewClaim(Claim claim, absl::Duration lease,
                                              CallOptions options) const {
  return Only(RenewClaims(OneItem(std::move(claim)), lease, options));
}

// ---- DescribeCalls

void Client::DescribeCallsAsync(std::vector<std::string> call_ids,
                                Callback<Results<CallDescription>> done,
                                CallOptions options) const {
  Batch<DescribeCallsRpc>::Start(core_, std::move(call_ids), {}, BudgetOf(*core_, options),
                                 std::move(done), options.cancellation);
}

Client::Results<CallDescription> Client::DescribeCalls(std::vector<std::string> call_ids,
                                                       CallOptions options) const {
  return Await<Results<CallDescription>>(*core_, [&](auto done) {
    DescribeCallsAsync(std::move(call_ids), std::move(done), options);
  });
}

absl::StatusOr<CallDescription> Client::DescribeCall(const std::string& call_id,
                                                     CallOptions options) const {
  return Only(DescribeCalls({call_id}, options));
}

// ---- DeleteCalls

void Client::DeleteCallsAsync(std::vector<std::string> call_ids, Callback<Results<absl::Time>> done,
                              CallOptions options) const {
  Batch<DeleteCallsRpc>::Start(core_, std::move(call_ids), {}, BudgetOf(*core_, options),
                               std::move(done), options.cancellation);
}

Client::Results<absl::Time> Client::DeleteCalls(std::vector<std::string> call_ids,
                                                CallOptions options) const {
  return Await<Results<absl::Time>>(
      *core_, [&](auto done) { DeleteCallsAsync(std::move(call_ids), std::move(done), options); });
}

absl::StatusOr<absl::Time> Client::DeleteCall(const std::string& call_id,
                                              CallOptions options) const {
  return Only(DeleteCalls({call_id}, options));
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
      core_->outputs()->holdings()->Hold(core_, *output, options.lease);
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
          Download(core_, sink, TransferOptions(options)).RunOutput(*output);
      RETURN_IF_ERROR(whole.status());
      *output = *std::move(whole);
      core_->outputs()->holdings()->Hold(core_, *output, options.lease);
    } else {
      const std::string data = std::exchange(output->payload.data, std::string());
      if (!data.empty()) RETURN_IF_ERROR(sink->WriteAt(0, data));
      RETURN_IF_ERROR(sink->Finish(data.size()));
      output->data_omitted = true;
    }
    retrieved.output = *output;
    return absl::OkStatus();
  };
  const absl::StatusOr<absl::Time> erased = Retrieval(core_, call_id, write, options).Run();
  RETURN_IF_ERROR(erased.status());
  retrieved.erased = *erased;
  return retrieved;
}

void Client::AwaitOutputAsync(std::string call_id, Callback<absl::StatusOr<ClaimedOutput>> done,
                              RetrieveOptions options) const {
  core_->outputs()->Await(core_, std::move(call_id), options,
                          [core = core_, done = std::move(done),
                           options](absl::StatusOr<ClaimedOutput> output) mutable {
                            if (output.ok() && output->data_omitted) {
                              return QueueDownload(std::move(core), *std::move(output), options,
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
  return BringData(core_, *output, options.lease, TransferOptions(options));
}

Client::Future<ClaimedOutput> Client::AwaitOutputFuture(std::string call_id,
                                                        RetrieveOptions options) const {
  return FutureOf<absl::StatusOr<ClaimedOutput>>(
      [&](auto done) { AwaitOutputAsync(std::move(call_id), std::move(done), options); });
}

OutputStream Client::StreamOutputs(OutputStreamOptions options,
                                   OutputStream::OnEvent on_event) const {
  return OutputStream(OutputStream::Reception::New(core_, options, std::move(on_event)));
}

}  // namespace mayfly::client
