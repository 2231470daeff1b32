#include "mayfly/client.h"

#include <stdlib.h>
#include <utility>

#include "base/call_id.h"
#include "base/error.h"
#include "client/await.h"
#include "client/batch_call.h"
#include "client/batchers.h"
#include "client/core.h"
#include "client/download_transfer.h"
#include "client/large_payloads.h"
#include "client/random.h"
#include "client/rpcs.h"
#include "client/server_info_call.h"
#include "client/server_time.h"

namespace mayfly::client {
namespace {

constexpr size_t kCallIdRandomBytes = 10;

// For a batch of one.
template <typename T>
Client::Callback<Client::Results<T>> OnlyResult(Client::Callback<absl::StatusOr<T>> done) {
  return [done = std::move(done)](Client::Results<T> results) mutable {
    done(std::move(results.front()));
  };
}

}  // namespace

std::string MintCallId() {
  uint8_t random[kCallIdRandomBytes];
  FillFromKernel(MutableByteSpan(random));
  return CallId::Mint(ServerTime(), ByteSpan(random)).ToString();
}

std::string MintClaimToken() { return NewClaimToken(); }

absl::StatusOr<Client> Client::ConnectFromEnvironment(ClientOptions options) {
  const auto take = [](const char* name, std::string* option) {
    const char* const value = getenv(name);
    if (option->empty() && value != nullptr) *option = value;
  };
  take("MAYFLY_SERVER", &options.target);
  take("MAYFLY_CA", &options.ca_file);
  take("MAYFLY_CERT", &options.certificate_file);
  take("MAYFLY_KEY", &options.key_file);
  return Connect(options);
}

absl::StatusOr<Client> Client::Connect(const ClientOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  absl::StatusOr<std::shared_ptr<Connections>> connections = Connections::Open(options);
  RETURN_IF_ERROR(connections.status());
  return Client(std::make_shared<Core>(*std::move(connections), options));
}

Client::Client(std::shared_ptr<Core> core) : core_(std::move(core)) {}

// ---- PutInputs

void Client::PutInputsAsync(std::vector<Input> inputs, Callback<Results<Stored>> done,
                            CallOptions options) const {
  BatchCall<PutInputsRpc>::Start(core_, std::move(inputs), {},
                                 TimeBudget(TimeoutOf(*core_, options)), std::move(done),
                                 options.cancellation);
}

Client::Results<Stored> Client::PutInputs(std::vector<Input> inputs, CallOptions options) const {
  return Await<Results<Stored>>(
      *core_, [&](auto done) { PutInputsAsync(std::move(inputs), std::move(done), options); });
}

void Client::PutInputAsync(Input input, Callback<absl::StatusOr<Stored>> done,
                           CallOptions options) const {
  if (IsLarge(input)) {
    return QueueUpload(core_, std::move(input), std::move(options), std::move(done));
  }
  core_->batchers()->put_inputs()->Submit(core_, std::move(input), TimeoutOf(*core_, options),
                                          options.cancellation, std::move(done));
}

absl::StatusOr<Stored> Client::PutInput(Input input, CallOptions options) const {
  if (IsLarge(input)) {
    core_->CheckMayWait();
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
  return UploadFrom(core_, std::move(input), source, options);
}

// ---- GetInputs

void Client::GetInputsAsync(std::vector<std::string> call_ids, Callback<Results<StoredInput>> done,
                            CallOptions options) const {
  v1::GetInputsRequest prototype;
  prototype.set_max_bytes(core_->options().batch_bytes_max);
  BatchCall<GetInputsRpc>::Start(core_, std::move(call_ids), std::move(prototype),
                                 TimeBudget(TimeoutOf(*core_, options)), std::move(done),
                                 options.cancellation);
}

Client::Results<StoredInput> Client::GetInputs(std::vector<std::string> call_ids,
                                               CallOptions options) const {
  return Await<Results<StoredInput>>(
      *core_, [&](auto done) { GetInputsAsync(std::move(call_ids), std::move(done), options); });
}

void Client::GetInputAsync(std::string call_id, Callback<absl::StatusOr<StoredInput>> done,
                           CallOptions options) const {
  core_->batchers()->get_inputs()->Submit(
      core_, std::move(call_id), TimeoutOf(*core_, options), options.cancellation,
      [core = core_, done = std::move(done), options,
       begun = Elapsed()](absl::StatusOr<StoredInput> input) mutable {
        if (input.ok() && input->size_bytes > input->payload.data.size()) {
          return QueueInputDownload(core, *std::move(input), std::move(options), begun,
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
  core_->CheckMayWait();
  return DownloadTransfer(core_, sink, options).RunInput(call_id);
}

// ---- PutOutputs

void Client::PutOutputsAsync(std::vector<Output> outputs, Callback<Results<Stored>> done,
                             CallOptions options) const {
  BatchCall<PutOutputsRpc>::Start(core_, std::move(outputs), {},
                                  TimeBudget(TimeoutOf(*core_, options)), std::move(done),
                                  options.cancellation);
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
  core_->batchers()->put_outputs()->Submit(core_, std::move(output), TimeoutOf(*core_, options),
                                           options.cancellation, std::move(done));
}

absl::StatusOr<Stored> Client::PutOutput(Output output, CallOptions options) const {
  if (IsLarge(output)) {
    core_->CheckMayWait();
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

// ---- DescribeCalls

void Client::DescribeCallsAsync(std::vector<std::string> call_ids,
                                Callback<Results<CallDescription>> done,
                                CallOptions options) const {
  BatchCall<DescribeCallsRpc>::Start(core_, std::move(call_ids), {},
                                     TimeBudget(TimeoutOf(*core_, options)), std::move(done),
                                     options.cancellation);
}

Client::Results<CallDescription> Client::DescribeCalls(std::vector<std::string> call_ids,
                                                       CallOptions options) const {
  return Await<Results<CallDescription>>(*core_, [&](auto done) {
    DescribeCallsAsync(std::move(call_ids), std::move(done), options);
  });
}

absl::StatusOr<CallDescription> Client::DescribeCall(const std::string& call_id,
                                                     CallOptions options) const {
  return std::move(DescribeCalls({call_id}, options).front());
}

void Client::DescribeCallAsync(std::string call_id, Callback<absl::StatusOr<CallDescription>> done,
                               CallOptions options) const {
  DescribeCallsAsync({std::move(call_id)}, OnlyResult(std::move(done)), std::move(options));
}

Client::Future<CallDescription> Client::DescribeCallFuture(std::string call_id,
                                                           CallOptions options) const {
  return FutureOf<absl::StatusOr<CallDescription>>(
      [&](auto done) { DescribeCallAsync(std::move(call_id), std::move(done), options); });
}

// ---- GetServerInfo

void Client::GetServerInfoAsync(Callback<absl::StatusOr<ServerInfo>> done,
                                CallOptions options) const {
  ServerInfoCall::Begin(core_, options, std::move(done));
}

absl::StatusOr<ServerInfo> Client::GetServerInfo(CallOptions options) const {
  return Await<absl::StatusOr<ServerInfo>>(
      *core_, [&](auto done) { GetServerInfoAsync(std::move(done), options); });
}

Client::Future<ServerInfo> Client::GetServerInfoFuture(CallOptions options) const {
  return FutureOf<absl::StatusOr<ServerInfo>>(
      [&](auto done) { GetServerInfoAsync(std::move(done), options); });
}

// ---- DeleteCalls

void Client::DeleteCallsAsync(std::vector<std::string> call_ids, Callback<Results<absl::Time>> done,
                              CallOptions options) const {
  BatchCall<DeleteCallsRpc>::Start(core_, std::move(call_ids), {},
                                   TimeBudget(TimeoutOf(*core_, options)), std::move(done),
                                   options.cancellation);
}

Client::Results<absl::Time> Client::DeleteCalls(std::vector<std::string> call_ids,
                                                CallOptions options) const {
  return Await<Results<absl::Time>>(
      *core_, [&](auto done) { DeleteCallsAsync(std::move(call_ids), std::move(done), options); });
}

absl::StatusOr<absl::Time> Client::DeleteCall(const std::string& call_id,
                                              CallOptions options) const {
  return std::move(DeleteCalls({call_id}, options).front());
}

void Client::DeleteCallAsync(std::string call_id, Callback<absl::StatusOr<absl::Time>> done,
                             CallOptions options) const {
  DeleteCallsAsync({std::move(call_id)}, OnlyResult(std::move(done)), std::move(options));
}

Client::Future<absl::Time> Client::DeleteCallFuture(std::string call_id,
                                                    CallOptions options) const {
  return FutureOf<absl::StatusOr<absl::Time>>(
      [&](auto done) { DeleteCallAsync(std::move(call_id), std::move(done), options); });
}

}  // namespace mayfly::client
