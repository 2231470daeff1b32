#include "mayfly/client.h"

#include <future>
#include <utility>

#include "absl/time/clock.h"

#include "base/call_id.h"
#include "base/check.h"
#include "base/error.h"
#include "client/batch.h"
#include "client/claim_poll.h"
#include "client/core.h"
#include "client/random.h"
#include "client/retrieval.h"
#include "client/rpcs.h"

namespace mayfly::client {
namespace {

constexpr size_t kCallIdRandomBytes = 10;

TimeBudget BudgetOf(const Core& core, const CallOptions& options) {
  return TimeBudget(options.timeout > absl::ZeroDuration() ? options.timeout
                                                           : core.options().timeout);
}

// Runs `start` with a callback, and waits for what it is called with.
template <typename T, typename Start>
T Await(const Core& core, Start start) {
  Check(!core.IsOwnThread(), "a callback of a client does not wait for the client");
  // Shared: set_value may still be at work when the waiting thread has its value and goes on.
  auto promise = std::make_shared<std::promise<T>>();
  std::future<T> future = promise->get_future();
  start([promise](T value) { promise->set_value(std::move(value)); });
  return future.get();
}

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
                             std::move(done));
}

Client::Results<Stored> Client::PutInputs(std::vector<Input> inputs, CallOptions options) const {
  return Await<Results<Stored>>(
      *core_, [&](auto done) { PutInputsAsync(std::move(inputs), std::move(done), options); });
}

absl::StatusOr<Stored> Client::PutInput(Input input, CallOptions options) const {
  return Only(PutInputs(OneItem(std::move(input)), options));
}

// ---- GetInputs

void Client::GetInputsAsync(std::vector<std::string> call_ids, Callback<Results<StoredInput>> done,
                            CallOptions options) const {
  v1::GetInputsRequest prototype;
  prototype.set_max_bytes(core_->options().batch_bytes_max);
  Batch<GetInputsRpc>::Start(core_, std::move(call_ids), std::move(prototype),
                             BudgetOf(*core_, options), std::move(done));
}

Client::Results<StoredInput> Client::GetInputs(std::vector<std::string> call_ids,
                                               CallOptions options) const {
  return Await<Results<StoredInput>>(
      *core_, [&](auto done) { GetInputsAsync(std::move(call_ids), std::move(done), options); });
}

absl::StatusOr<StoredInput> Client::GetInput(const std::string& call_id,
                                             CallOptions options) const {
  return Only(GetInputs({call_id}, options));
}

// ---- PutOutputs

void Client::PutOutputsAsync(std::vector<Output> outputs, Callback<Results<Stored>> done,
                             CallOptions options) const {
  Batch<PutOutputsRpc>::Start(core_, std::move(outputs), {}, BudgetOf(*core_, options),
                              std::move(done));
}

Client::Results<Stored> Client::PutOutputs(std::vector<Output> outputs, CallOptions options) const {
  return Await<Results<Stored>>(
      *core_, [&](auto done) { PutOutputsAsync(std::move(outputs), std::move(done), options); });
}

absl::StatusOr<Stored> Client::PutOutput(Output output, CallOptions options) const {
  return Only(PutOutputs(OneItem(std::move(output)), options));
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

// ---- AckOutputs

void Client::AckOutputsAsync(std::vector<Claim> claims, Callback<Results<absl::Time>> done,
                             CallOptions options) const {
  Batch<AckOutputsRpc>::Start(core_, std::move(claims), {}, BudgetOf(*core_, options),
                              std::move(done));
}

Client::Results<absl::Time> Client::AckOutputs(std::vector<Claim> claims,
                                               CallOptions options) const {
  return Await<Results<absl::Time>>(
      *core_, [&](auto done) { AckOutputsAsync(std::move(claims), std::move(done), options); });
}

absl::StatusOr<absl::Time> Client::AckOutput(Claim claim, CallOptions options) const {
  return Only(AckOutputs(OneItem(std::move(claim)), options));
}

// ---- ReleaseOutputs

void Client::ReleaseOutputsAsync(std::vector<Claim> claims,
                                 Callback<std::vector<absl::Status>> done,
                                 CallOptions options) const {
  Batch<ReleaseOutputsRpc>::Start(core_, std::move(claims), {}, BudgetOf(*core_, options),
                                  std::move(done));
}

std::vector<absl::Status> Client::ReleaseOutputs(std::vector<Claim> claims,
                                                 CallOptions options) const {
  return Await<std::vector<absl::Status>>(
      *core_, [&](auto done) { ReleaseOutputsAsync(std::move(claims), std::move(done), options); });
}

absl::Status Client::ReleaseOutput(Claim claim, CallOptions options) const {
  return Only(ReleaseOutputs(OneItem(std::move(claim)), options));
}

// ---- RenewClaims

void Client::RenewClaimsAsync(std::vector<Claim> claims, absl::Duration lease,
                              Callback<Results<absl::Time>> done, CallOptions options) const {
  v1::RenewClaimsRequest prototype;
  ToProto(lease, prototype.mutable_lease());
  Batch<RenewClaimsRpc>::Start(core_, std::move(claims), std::move(prototype),
                               BudgetOf(*core_, options), std::move(done));
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
                                 std::move(done));
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
                               std::move(done));
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

// ---- Retrieve

absl::StatusOr<absl::Time> Client::Retrieve(
    const std::string& call_id,
    absl::FunctionRef<absl::Status(const ClaimedOutput& output)> consume,
    RetrieveOptions options) const {
  return Retrieval(core_, call_id, consume, options).Run();
}

}  // namespace mayfly::client
