// A Client talks to a Mayfly server. Callers put the inputs of function calls, and retrieve each
// output once. Workers get inputs and put outputs.
//
// tests/client builds and runs the following program. It makes one call and retrieves its output.
// Then it makes a thousand calls and takes their outputs as they arrive. It is its own worker.
//
//   #include <cstdio>
//   #include <string>
//   #include <vector>
//
//   #include "mayfly/client.h"
//
//   using mayfly::client::Client;
//
//   absl::StatusOr<Client> Connect(const std::string& server, const std::string& directory,
//                                  const std::string& who) {
//     return Client::Connect({.target = server,
//                             .ca_file = directory + "/ca.pem",
//                             .certificate_file = directory + "/" + who + ".pem",
//                             .key_file = directory + "/" + who + ".key"});
//   }
//
//   // A worker learns the ids of calls from its platform.
//   absl::Status Work(const Client& worker, const std::string& call_id) {
//     auto input = worker.GetInput(call_id);
//     if (!input.ok()) return input.status();
//     return worker.PutOutput({.call_id = call_id, .payload = {.data = input->payload.data + "!"}})
//         .status();
//   }
//
//   absl::Status OneCall(const Client& client, const Client& worker) {
//     auto put = client.PutInput({.payload = {.data = "hello"}, .ttl = absl::Hours(1)});
//     if (!put.ok()) return put.status();
//     if (absl::Status status = Work(worker, put->call_id); !status.ok()) return status;
//     return client
//         .Retrieve(
//             put->call_id,
//             [](const mayfly::client::ClaimedOutput& output) {
//               std::printf("%s\n", output.payload.data.c_str());
//               return absl::OkStatus();  // kept; Retrieve may have it erased
//             },
//             {.wait = absl::Minutes(2)})
//         .status();
//   }
//
//   absl::Status Map(const Client& client, const Client& worker) {
//     std::vector<mayfly::client::Input> inputs(1000);
//     for (auto& input : inputs) input.payload.data = "x";
//     mayfly::client::OutputStream outputs = client.StreamOutputs();
//     for (const auto& put : client.PutInputs(std::move(inputs))) {
//       if (!put.ok()) return put.status();
//       outputs.Subscribe({put->call_id});
//       if (absl::Status status = Work(worker, put->call_id); !status.ok()) return status;
//     }
//     size_t bytes = 0;
//     while (outputs.PendingCount() > 0) {
//       auto event = outputs.Next();
//       if (!event.ok()) return event.status();
//       if (!event->output.ok()) return event->output.status();
//       bytes += event->output->payload.data.size();
//       outputs.Ack(event->output->claim);  // with the next message; Flush waits for it
//     }
//     std::printf("%zu\n", bytes);
//     return outputs.Flush();
//   }
//
//   int main(int argc, char** argv) {  // HOST:PORT and a directory with certificates
//     if (argc != 3) return 2;
//     auto client = Connect(argv[1], argv[2], "client");
//     auto worker = Connect(argv[1], argv[2], "worker");
//     absl::Status status = client.ok() ? worker.status() : client.status();
//     if (status.ok()) status = OneCall(*client, *worker);
//     if (status.ok()) status = Map(*client, *worker);
//     std::fputs(status.ok() ? "" : status.ToString().c_str(), stderr);
//     return status.ok() ? 0 : 1;
//   }
//
// Methods for single calls are made for many threads, or many callbacks, at a time. Calls that are
// made at the same time share messages (ClientOptions.linger), and payloads of any size are
// transferred in the way that suits them. Methods for batches return one result for each item, in
// order. They split batches to fit the server's limits; a request that fails as a whole gives its
// error to each of its items. Every payload is sent and verified with its checksum (CRC-32C).
//
// Methods with a PayloadSource or PayloadSink, and Retrieve, block; run them on a thread of your own.
// All others have a synchronous form, one with a callback (...Async), and for single calls one with a
// future (...Future). An upload that was broken off, even by the end of its process, is resumed by the
// same put: same call id, attempt, metadata and data.
//
// Every method can end with the following errors, and lists its others:
//   UNAVAILABLE          the server was not reached, is starting or draining, after all retries
//   DEADLINE_EXCEEDED    no answer in time. It may have been carried out; retrying is safe.
//   CANCELLED            by the Cancellation in the options. It may have been carried out.
//   RESOURCE_EXHAUSTED   a limit of the server; retry after RetryDelayOf(status)
//   UNAUTHENTICATED, PERMISSION_DENIED   the certificate is invalid, or not allowed to do this
//   INVALID_ARGUMENT, OUT_OF_RANGE       an argument is wrong; the text names field and limit
//   INTERNAL             the server broke the protocol
//
// A Client is a handle: copies share their connections and one thread, and calls under way outlive
// the copies. Thread-safe. Callbacks of operations run on that thread, one at a time. They must not
// block; a method that waits ends the process when a callback calls it. The callback of an empty
// batch runs at once. `progress` and `on_unreachable` are called by other threads.
#pragma once

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "mayfly/call.h"
#include "mayfly/client_options.h"
#include "mayfly/error.h"
#include "mayfly/output_stream.h"

namespace mayfly::client {

// A new call id: a UUIDv7 of the current time, as text. Mint it yourself if you may repeat the put
// after an error: a put with another id is another call. Servers reject ids whose time is more than 5
// min off (ID_OUTSIDE_WINDOW). When one has done so, this process knows the server's time, and mints
// ids by it; ids that the library has minted are replaced, and put again. Thread-safe.
std::string MintCallId();

// A new token for RetrieveOptions.claim_token or ClaimOptions.token. A secret while the claim lasts.
std::string MintClaimToken();

class Core;

class Client {
 public:
  template <typename T>
  using Results = std::vector<absl::StatusOr<T>>;
  template <typename T>
  using Callback = absl::AnyInvocable<void(T)>;
  template <typename T>
  using Future = std::future<absl::StatusOr<T>>;

  // Reads the PEM files. The first call opens the connection. INVALID_ARGUMENT when a file cannot
  // be read or holds no PEM, or an option is out of its range. UNAUTHENTICATED (IDENTITY_INVALID)
  // when no server can accept the certificate: it has expired, is not valid yet, is a CA's, or has
  // another key. Files that are replaced later are read again: see ClientOptions.
  static absl::StatusOr<Client> Connect(const ClientOptions& options);
  // The same with MAYFLY_SERVER, MAYFLY_CA, MAYFLY_CERT and MAYFLY_KEY for target, ca_file,
  // certificate_file and key_file where `options` has none.
  static absl::StatusOr<Client> ConnectFromEnvironment(ClientOptions options = {});

  // Stores an input. ALREADY_EXISTS: the call has another input. NOT_FOUND: the call has ended.
  absl::StatusOr<Stored> PutInput(Input input, CallOptions options = {}) const;
  void PutInputAsync(Input input, Callback<absl::StatusOr<Stored>> done,
                     CallOptions options = {}) const;
  Future<Stored> PutInputFuture(Input input, CallOptions options = {}) const;
  Results<Stored> PutInputs(std::vector<Input> inputs, CallOptions options = {}) const;
  void PutInputsAsync(std::vector<Input> inputs, Callback<Results<Stored>> done,
                      CallOptions options = {}) const;
  // The same with the data of `source`. The data of input.payload must be empty.
  absl::StatusOr<Stored> UploadInput(Input input, PayloadSource* source,
                                     CallOptions options = {}) const;

  // Reads an input. NOT_FOUND: the call is unknown or has ended. DATA_LOSS: the input was stored or
  // arrived damaged. OUT_OF_RANGE: it is larger than ClientOptions.data_bytes_max, or, in a batch,
  // larger than a message.
  absl::StatusOr<StoredInput> GetInput(const std::string& call_id, CallOptions options = {}) const;
  void GetInputAsync(std::string call_id, Callback<absl::StatusOr<StoredInput>> done,
                     CallOptions options = {}) const;
  Future<StoredInput> GetInputFuture(std::string call_id, CallOptions options = {}) const;
  Results<StoredInput> GetInputs(std::vector<std::string> call_ids, CallOptions options = {}) const;
  void GetInputsAsync(std::vector<std::string> call_ids, Callback<Results<StoredInput>> done,
                      CallOptions options = {}) const;
  // The same with the data written to `sink`, of any size.
  absl::StatusOr<StoredInput> DownloadInput(const std::string& call_id, PayloadSink* sink,
                                            CallOptions options = {}) const;

  // Stores an output. NOT_FOUND: the call is unknown or has ended. ALREADY_EXISTS: the attempt has
  // put another output. ABORTED: a later attempt has put its output. FAILED_PRECONDITION: a client
  // holds the output of an earlier attempt.
  absl::StatusOr<Stored> PutOutput(Output output, CallOptions options = {}) const;
  void PutOutputAsync(Output output, Callback<absl::StatusOr<Stored>> done,
                      CallOptions options = {}) const;
  Future<Stored> PutOutputFuture(Output output, CallOptions options = {}) const;
  Results<Stored> PutOutputs(std::vector<Output> outputs, CallOptions options = {}) const;
  void PutOutputsAsync(std::vector<Output> outputs, Callback<Results<Stored>> done,
                       CallOptions options = {}) const;
  absl::StatusOr<Stored> UploadOutput(Output output, PayloadSource* source,
                                      CallOptions options = {}) const;

  // Waits for the output of a call, claims it, passes it to `consume`, and acknowledges it when
  // `consume` returns OK. Returns when the payloads were erased. An error of `consume` releases the
  // claim and is returned.
  //
  // The output is delivered at least once until it is acknowledged, and never after that. One
  // Retrieve delivers it once, even if replies are lost and the server restarts. Only if a later
  // attempt replaced the output meanwhile is `consume` called again, with the later output. After
  // an error that is not of `consume`, `consume` may have been called, and the output may have been
  // acknowledged: retrieve again to find out.
  //
  // FAILED_PRECONDITION: OUTPUT_PENDING when there was no output within `wait`; CLAIM_LOST when
  // another client claimed it while `consume` ran. NOT_FOUND: the call has ended, perhaps by
  // another client's ack. DATA_LOSS: the output was stored or arrived damaged. OUT_OF_RANGE: it is
  // larger than data_bytes_max.
  absl::StatusOr<absl::Time> Retrieve(
      const std::string& call_id,
      absl::FunctionRef<absl::Status(const ClaimedOutput& output)> consume,
      RetrieveOptions options = {}) const;
  // The same into a sink, of any size. Finish of the sink is called right before the ack. When a
  // later attempt replaces the output during the download, WriteAt starts again at 0; a sink that
  // cannot start again returns an error. With a sink that keeps data (PayloadSink::KeptBytes) and
  // RetrieveOptions.claim_token, another process can resume what one has begun.
  absl::StatusOr<Retrieved> RetrieveInto(const std::string& call_id, PayloadSink* sink,
                                         RetrieveOptions options = {}) const;

  // The first half of Retrieve; AckOutput is the second. The output is held, and its claim renewed,
  // until AckOutput or ReleaseOutput, or until the last copy of the client is destroyed. Errors as
  // above.
  absl::StatusOr<ClaimedOutput> AwaitOutput(const std::string& call_id,
                                            RetrieveOptions options = {}) const;
  void AwaitOutputAsync(std::string call_id, Callback<absl::StatusOr<ClaimedOutput>> done,
                        RetrieveOptions options = {}) const;
  Future<ClaimedOutput> AwaitOutputFuture(std::string call_id, RetrieveOptions options = {}) const;

  // The outputs of many calls, as they arrive: see output_stream.h. `on_event` is called for each,
  // on the client's thread. Without it, OutputStream::Next returns them.
  OutputStream StreamOutputs(OutputStreamOptions options = {},
                             OutputStream::OnEvent on_event = nullptr) const;

  // Claims the outputs of up to 512 calls, and waits for the first if there is none. An empty
  // result is not an error. Errors of single calls: NOT_FOUND: the call will never have an output.
  // DATA_LOSS: the output was stored or arrived damaged. OUT_OF_RANGE: it is larger than bytes_max,
  // and was released.
  absl::StatusOr<ClaimedOutputs> ClaimOutputs(std::vector<std::string> call_ids,
                                              ClaimOptions options = {}) const;
  void ClaimOutputsAsync(std::vector<std::string> call_ids,
                         Callback<absl::StatusOr<ClaimedOutputs>> done,
                         ClaimOptions options = {}) const;

  // Downloads the data of an output that was claimed with data_omitted into a sink. Acknowledge the
  // output that is returned: its claim has the checksum.
  absl::StatusOr<ClaimedOutput> DownloadOutput(const ClaimedOutput& output, PayloadSink* sink,
                                               CallOptions options = {}) const;

  // Ends calls whose outputs were received, and returns when their payloads were erased. NOT_FOUND:
  // the call has ended in another way. FAILED_PRECONDITION: the claim is lost. INVALID_ARGUMENT
  // (CHECKSUM_MISMATCH): the data received is not the data stored.
  absl::StatusOr<absl::Time> AckOutput(Claim claim, CallOptions options = {}) const;
  void AckOutputAsync(Claim claim, Callback<absl::StatusOr<absl::Time>> done,
                      CallOptions options = {}) const;
  Future<absl::Time> AckOutputFuture(Claim claim, CallOptions options = {}) const;
  Results<absl::Time> AckOutputs(std::vector<Claim> claims, CallOptions options = {}) const;
  void AckOutputsAsync(std::vector<Claim> claims, Callback<Results<absl::Time>> done,
                       CallOptions options = {}) const;

  // Releases claims. NOT_FOUND: the call has ended. FAILED_PRECONDITION: the claim is lost.
  absl::Status ReleaseOutput(Claim claim, CallOptions options = {}) const;
  void ReleaseOutputAsync(Claim claim, Callback<absl::Status> done, CallOptions options = {}) const;
  std::future<absl::Status> ReleaseOutputFuture(Claim claim, CallOptions options = {}) const;
  std::vector<absl::Status> ReleaseOutputs(std::vector<Claim> claims,
                                           CallOptions options = {}) const;
  void ReleaseOutputsAsync(std::vector<Claim> claims, Callback<std::vector<absl::Status>> done,
                           CallOptions options = {}) const;

  // Extends claims to `lease` from now, and returns when they expire. NOT_FOUND: the call has
  // ended. FAILED_PRECONDITION: the claim is lost.
  absl::StatusOr<absl::Time> RenewClaim(Claim claim, absl::Duration lease,
                                        CallOptions options = {}) const;
  void RenewClaimAsync(Claim claim, absl::Duration lease, Callback<absl::StatusOr<absl::Time>> done,
                       CallOptions options = {}) const;
  Future<absl::Time> RenewClaimFuture(Claim claim, absl::Duration lease,
                                      CallOptions options = {}) const;
  Results<absl::Time> RenewClaims(std::vector<Claim> claims, absl::Duration lease,
                                  CallOptions options = {}) const;
  void RenewClaimsAsync(std::vector<Claim> claims, absl::Duration lease,
                        Callback<Results<absl::Time>> done, CallOptions options = {}) const;

  // Returns the state of calls, without payloads. An unknown call is kUnknown, not an error.
  absl::StatusOr<CallDescription> DescribeCall(const std::string& call_id,
                                               CallOptions options = {}) const;
  void DescribeCallAsync(std::string call_id, Callback<absl::StatusOr<CallDescription>> done,
                         CallOptions options = {}) const;
  Future<CallDescription> DescribeCallFuture(std::string call_id, CallOptions options = {}) const;
  Results<CallDescription> DescribeCalls(std::vector<std::string> call_ids,
                                         CallOptions options = {}) const;
  void DescribeCallsAsync(std::vector<std::string> call_ids,
                          Callback<Results<CallDescription>> done, CallOptions options = {}) const;

  // Ends calls in any state, and returns when their payloads were erased. A call that was deleted
  // before is not an error. NOT_FOUND: the call is unknown or has ended in another way.
  absl::StatusOr<absl::Time> DeleteCall(const std::string& call_id, CallOptions options = {}) const;
  void DeleteCallAsync(std::string call_id, Callback<absl::StatusOr<absl::Time>> done,
                       CallOptions options = {}) const;
  Future<absl::Time> DeleteCallFuture(std::string call_id, CallOptions options = {}) const;
  Results<absl::Time> DeleteCalls(std::vector<std::string> call_ids,
                                  CallOptions options = {}) const;
  void DeleteCallsAsync(std::vector<std::string> call_ids, Callback<Results<absl::Time>> done,
                        CallOptions options = {}) const;

  // Returns the server's version and time, who the caller is, and its limits.
  absl::StatusOr<ServerInfo> GetServerInfo(CallOptions options = {}) const;
  void GetServerInfoAsync(Callback<absl::StatusOr<ServerInfo>> done,
                          CallOptions options = {}) const;
  Future<ServerInfo> GetServerInfoFuture(CallOptions options = {}) const;

  // For Connect and tests; users cannot make a Core.
  explicit Client(std::shared_ptr<Core> core);

 private:
  std::shared_ptr<Core> core_;
};

}  // namespace mayfly::client
