// A Client speaks to a Mayfly server: it puts the inputs of function calls, and retrieves each
// output once. Workers get inputs and put outputs with it.
//
// This program is built and run by tests/client. It makes a call and retrieves its output, then a
// map of a thousand calls whose outputs it takes as they arrive; it plays the worker itself.
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
//               return absl::OkStatus();  // it is safe now; and erased when Retrieve returns
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
// Methods of single calls are made to be used by many threads, or with many callbacks, at a time:
// what is asked at the same time travels together (ClientOptions.linger), and a payload of any size
// takes its right way. Methods of batches have one result for each item, in order; a request that
// failed as a whole is the error of each of its items. They are split to fit the server's limits.
// Checksums (CRC-32C) are sent and verified with every payload.
//
// Any call can end with these, and names the others it can end with:
//   UNAVAILABLE          not reached, starting or draining, after all repetitions: try later
//   DEADLINE_EXCEEDED    no answer in time; whether it was done is not known: repeating is safe
//   CANCELLED            by the options' cancellation; whether it was done is not known
//   RESOURCE_EXHAUSTED   a limit of the server; repeat after RetryDelayOf(status)
//   UNAUTHENTICATED, PERMISSION_DENIED   the certificate is not good, or not good for this
//   INVALID_ARGUMENT, OUT_OF_RANGE       an argument is wrong; the text names field and limit
//   INTERNAL             the server answered what it must not
//
// A Client is a handle: copies share their connections and a thread, and calls under way outlive
// them. Thread-safe. Callbacks run on that thread, one at a time: they must not block, and a method
// that waits ends the process when it is called from one. The callback of an empty batch runs at
// once.
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

// A new call id: a UUIDv7 for now, in text. Mint it before the put if the put may be repeated after
// an error, because a put with another id is another call. Thread-safe.
std::string MintCallId();

class Core;

class Client {
 public:
  template <typename T>
  using Results = std::vector<absl::StatusOr<T>>;
  template <typename T>
  using Callback = absl::AnyInvocable<void(T)>;
  template <typename T>
  using Future = std::future<absl::StatusOr<T>>;

  // Reads the PEM files; the connection itself is made by the first call. INVALID_ARGUMENT when a
  // file cannot be read, holds no PEM, or an option is out of its range.
  static absl::StatusOr<Client> Connect(const ClientOptions& options);

  // Stores an input. ALREADY_EXISTS: the call has another input. NOT_FOUND: the call has ended.
  absl::StatusOr<Stored> PutInput(Input input, CallOptions options = {}) const;
  void PutInputAsync(Input input, Callback<absl::StatusOr<Stored>> done,
                     CallOptions options = {}) const;
  Future<Stored> PutInputFuture(Input input, CallOptions options = {}) const;
  Results<Stored> PutInputs(std::vector<Input> inputs, CallOptions options = {}) const;
  void PutInputsAsync(std::vector<Input> inputs, Callback<Results<Stored>> done,
                      CallOptions options = {}) const;
  // The same with the data of `source`; that of input.payload is empty.
  absl::StatusOr<Stored> UploadInput(Input input, PayloadSource* source,
                                     CallOptions options = {}) const;

  // Reads an input. NOT_FOUND: not there, or not any more. DATA_LOSS: it arrived or was stored
  // damaged. OUT_OF_RANGE: it is larger than ClientOptions.data_bytes_max, or than a message when
  // asked for in a batch.
  absl::StatusOr<StoredInput> GetInput(const std::string& call_id, CallOptions options = {}) const;
  void GetInputAsync(std::string call_id, Callback<absl::StatusOr<StoredInput>> done,
                     CallOptions options = {}) const;
  Future<StoredInput> GetInputFuture(std::string call_id, CallOptions options = {}) const;
  Results<StoredInput> GetInputs(std::vector<std::string> call_ids, CallOptions options = {}) const;
  void GetInputsAsync(std::vector<std::string> call_ids, Callback<Results<StoredInput>> done,
                      CallOptions options = {}) const;
  // The same with the data in `sink`, of any size.
  absl::StatusOr<StoredInput> DownloadInput(const std::string& call_id, PayloadSink* sink,
                                            CallOptions options = {}) const;

  // Stores an output. NOT_FOUND: no such call, or it has ended. ALREADY_EXISTS: the attempt has put
  // another output. ABORTED: a later attempt was faster. FAILED_PRECONDITION: a client holds the
  // output of an earlier attempt.
  absl::StatusOr<Stored> PutOutput(Output output, CallOptions options = {}) const;
  void PutOutputAsync(Output output, Callback<absl::StatusOr<Stored>> done,
                      CallOptions options = {}) const;
  Future<Stored> PutOutputFuture(Output output, CallOptions options = {}) const;
  Results<Stored> PutOutputs(std::vector<Output> outputs, CallOptions options = {}) const;
  void PutOutputsAsync(std::vector<Output> outputs, Callback<Results<Stored>> done,
                       CallOptions options = {}) const;
  absl::StatusOr<Stored> UploadOutput(Output output, PayloadSource* source,
                                      CallOptions options = {}) const;

  // Waits for the output of a call, claims it, hands it to `consume`, and acknowledges it when that
  // returns OK; tells when the payloads were erased. An error of `consume` releases the claim and
  // is returned.
  //
  // The output is delivered at least once until it is acknowledged, and never after. Retrieve
  // itself delivers it once, whatever replies are lost and whether the server restarts, unless a
  // later attempt replaced the output meanwhile: then `consume` is called again, with that one.
  // After an error that is not of `consume`, it may have been called, and the output may be
  // acknowledged or not: retrieving again tells.
  //
  // FAILED_PRECONDITION: OUTPUT_PENDING when nothing came within `wait`; CLAIM_LOST when another
  // client claimed it while `consume` ran. NOT_FOUND: it ended, also by another client's ack.
  // DATA_LOSS: it arrived or was stored damaged. OUT_OF_RANGE: larger than data_bytes_max.
  absl::StatusOr<absl::Time> Retrieve(
      const std::string& call_id,
      absl::FunctionRef<absl::Status(const ClaimedOutput& output)> consume,
      RetrieveOptions options = {}) const;
  // The same into a sink, of any size: Finish of the sink is the last thing before the ack. A sink
  // that cannot begin anew when a later attempt replaced the output says so in WriteAt.
  absl::StatusOr<Retrieved> RetrieveInto(const std::string& call_id, PayloadSink* sink,
                                         RetrieveOptions options = {}) const;

  // The two halves of Retrieve. The output is held, its claim renewed, until AckOutput or
  // ReleaseOutput, or until the last copy of the client is gone; errors as above.
  absl::StatusOr<ClaimedOutput> AwaitOutput(const std::string& call_id,
                                            RetrieveOptions options = {}) const;
  void AwaitOutputAsync(std::string call_id, Callback<absl::StatusOr<ClaimedOutput>> done,
                        RetrieveOptions options = {}) const;
  Future<ClaimedOutput> AwaitOutputFuture(std::string call_id, RetrieveOptions options = {}) const;

  // Outputs of many calls, as they arrive: see output_stream.h. With `on_event`, that is called for
  // each where all callbacks run; otherwise OutputStream::Next gives them.
  OutputStream StreamOutputs(OutputStreamOptions options = {},
                             OutputStream::OnEvent on_event = nullptr) const;

  // Claims outputs of up to 512 calls, waiting for the first if none is there. Finding nothing is
  // no error. The errors of single calls: NOT_FOUND: it will never have an output. DATA_LOSS: it
  // arrived or was stored damaged. OUT_OF_RANGE: it is larger than bytes_max, and was released.
  absl::StatusOr<ClaimedOutputs> ClaimOutputs(std::vector<std::string> call_ids,
                                              ClaimOptions options = {}) const;
  void ClaimOutputsAsync(std::vector<std::string> call_ids,
                         Callback<absl::StatusOr<ClaimedOutputs>> done,
                         ClaimOptions options = {}) const;

  // Brings the data of an output that is claimed, and was not sent, into a sink. The output that is
  // returned is the one to acknowledge: its claim knows the checksum.
  absl::StatusOr<ClaimedOutput> DownloadOutput(const ClaimedOutput& output, PayloadSink* sink,
                                               CallOptions options = {}) const;

  // Ends calls whose outputs were received, and tells when their payloads were erased. NOT_FOUND:
  // the call has ended otherwise. FAILED_PRECONDITION: the claim is lost. INVALID_ARGUMENT
  // (CHECKSUM_MISMATCH): what was received is not what is stored.
  absl::StatusOr<absl::Time> AckOutput(Claim claim, CallOptions options = {}) const;
  void AckOutputAsync(Claim claim, Callback<absl::StatusOr<absl::Time>> done,
                      CallOptions options = {}) const;
  Future<absl::Time> AckOutputFuture(Claim claim, CallOptions options = {}) const;
  Results<absl::Time> AckOutputs(std::vector<Claim> claims, CallOptions options = {}) const;
  void AckOutputsAsync(std::vector<Claim> claims, Callback<Results<absl::Time>> done,
                       CallOptions options = {}) const;

  // Gives claims back. NOT_FOUND: the call has ended. FAILED_PRECONDITION: the claim is lost.
  absl::Status ReleaseOutput(Claim claim, CallOptions options = {}) const;
  std::vector<absl::Status> ReleaseOutputs(std::vector<Claim> claims,
                                           CallOptions options = {}) const;
  void ReleaseOutputsAsync(std::vector<Claim> claims, Callback<std::vector<absl::Status>> done,
                           CallOptions options = {}) const;

  // Prolongs claims by `lease` from now, and tells when they will lapse. NOT_FOUND: the call has
  // ended. FAILED_PRECONDITION: the claim is lost.
  absl::StatusOr<absl::Time> RenewClaim(Claim claim, absl::Duration lease,
                                        CallOptions options = {}) const;
  Results<absl::Time> RenewClaims(std::vector<Claim> claims, absl::Duration lease,
                                  CallOptions options = {}) const;
  void RenewClaimsAsync(std::vector<Claim> claims, absl::Duration lease,
                        Callback<Results<absl::Time>> done, CallOptions options = {}) const;

  // Tells the state of calls, never payload. A call that is not there is kUnknown, not an error.
  absl::StatusOr<CallDescription> DescribeCall(const std::string& call_id,
                                               CallOptions options = {}) const;
  Results<CallDescription> DescribeCalls(std::vector<std::string> call_ids,
                                         CallOptions options = {}) const;
  void DescribeCallsAsync(std::vector<std::string> call_ids,
                          Callback<Results<CallDescription>> done, CallOptions options = {}) const;

  // Ends calls in any state, and tells when their payloads were erased; again for a call that was
  // deleted before. NOT_FOUND: it ended otherwise, or never was.
  absl::StatusOr<absl::Time> DeleteCall(const std::string& call_id, CallOptions options = {}) const;
  Results<absl::Time> DeleteCalls(std::vector<std::string> call_ids,
                                  CallOptions options = {}) const;
  void DeleteCallsAsync(std::vector<std::string> call_ids, Callback<Results<absl::Time>> done,
                        CallOptions options = {}) const;

  // For Connect and tests; a Core is nothing that a user could make.
  explicit Client(std::shared_ptr<Core> core);

 private:
  std::shared_ptr<Core> core_;
};

}  // namespace mayfly::client
