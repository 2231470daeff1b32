// A Client speaks to a Mayfly server: it puts the inputs of function calls, and retrieves each
// output once. Workers get inputs and put outputs with it.
//
//   auto client = mayfly::client::Client::Connect({.target = "mayfly.example:7443",
//                                                  .ca_file = "ca.pem",
//                                                  .certificate_file = "client.pem",
//                                                  .key_file = "client.key"});
//   if (!client.ok()) return client.status();
//
//   auto put = client->PutInput({.payload = {.data = "6 * 7"}, .ttl = absl::Hours(1)});
//   if (!put.ok()) return put.status();
//
//   // ... a worker computes and puts the output of put->call_id ...
//
//   return client->Retrieve(
//       put->call_id,
//       [](const mayfly::client::ClaimedOutput& output) {
//         return KeepSafely(output.payload.data);  // write and fsync: it is erased after this
//       },
//       {.wait = absl::Minutes(2)});
//
// Batches have one result for each item, in order; a request that failed as a whole is the error of
// each of its items. They are split to fit the server's limits. Checksums (CRC-32C) are sent and
// verified with every payload.
//
// Any call can end with these, and names the others it can end with:
//   UNAVAILABLE          not reached, starting or draining, after all repetitions: try later
//   DEADLINE_EXCEEDED    no answer in time; whether it was done is not known: repeating is safe
//   RESOURCE_EXHAUSTED   a limit of the server; repeat after RetryDelayOf(status)
//   UNAUTHENTICATED, PERMISSION_DENIED   the certificate is not good, or not good for this
//   INVALID_ARGUMENT, OUT_OF_RANGE       an argument is wrong; the text names field and limit
//   INTERNAL             the server answered what it must not
//
// A Client is a handle: copies share one connection and one thread, and calls under way outlive
// them. Thread-safe. Callbacks run on that thread, one at a time: they must not block, and a method
// that waits ends the process when it is called from one. The callback of an empty batch runs at
// once.
#pragma once

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

  // Reads the PEM files; the connection itself is made by the first call. INVALID_ARGUMENT when a
  // file cannot be read, holds no PEM, or an option is out of its range.
  static absl::StatusOr<Client> Connect(const ClientOptions& options);

  // Stores inputs. ALREADY_EXISTS: the call has another input. NOT_FOUND: the call has ended.
  Results<Stored> PutInputs(std::vector<Input> inputs, CallOptions options = {}) const;
  void PutInputsAsync(std::vector<Input> inputs, Callback<Results<Stored>> done,
                      CallOptions options = {}) const;
  absl::StatusOr<Stored> PutInput(Input input, CallOptions options = {}) const;

  // Reads inputs. NOT_FOUND: not there, or not any more. DATA_LOSS: it arrived or was stored
  // damaged.
  Results<StoredInput> GetInputs(std::vector<std::string> call_ids, CallOptions options = {}) const;
  void GetInputsAsync(std::vector<std::string> call_ids, Callback<Results<StoredInput>> done,
                      CallOptions options = {}) const;
  absl::StatusOr<StoredInput> GetInput(const std::string& call_id, CallOptions options = {}) const;

  // Stores outputs. NOT_FOUND: no such call, or it has ended. ALREADY_EXISTS: the attempt has put
  // another output. ABORTED: a later attempt was faster. FAILED_PRECONDITION: a client holds the
  // output of an earlier attempt.
  Results<Stored> PutOutputs(std::vector<Output> outputs, CallOptions options = {}) const;
  void PutOutputsAsync(std::vector<Output> outputs, Callback<Results<Stored>> done,
                       CallOptions options = {}) const;
  absl::StatusOr<Stored> PutOutput(Output output, CallOptions options = {}) const;

  // Claims outputs of up to 512 calls, waiting for the first if none is there. Finding nothing is
  // no error. The errors of single calls: NOT_FOUND: it will never have an output. DATA_LOSS: it
  // arrived or was stored damaged. OUT_OF_RANGE: it is larger than bytes_max and was not sent.
  absl::StatusOr<ClaimedOutputs> ClaimOutputs(std::vector<std::string> call_ids,
                                              ClaimOptions options = {}) const;
  void ClaimOutputsAsync(std::vector<std::string> call_ids,
                         Callback<absl::StatusOr<ClaimedOutputs>> done,
                         ClaimOptions options = {}) const;

  // Ends calls whose outputs were received, and tells when their payloads were erased. NOT_FOUND:
  // the call has ended otherwise. FAILED_PRECONDITION: the claim is lost. INVALID_ARGUMENT
  // (CHECKSUM_MISMATCH): what was received is not what is stored.
  Results<absl::Time> AckOutputs(std::vector<Claim> claims, CallOptions options = {}) const;
  void AckOutputsAsync(std::vector<Claim> claims, Callback<Results<absl::Time>> done,
                       CallOptions options = {}) const;
  absl::StatusOr<absl::Time> AckOutput(Claim claim, CallOptions options = {}) const;

  // Gives claims back. NOT_FOUND: the call has ended. FAILED_PRECONDITION: the claim is lost.
  std::vector<absl::Status> ReleaseOutputs(std::vector<Claim> claims,
                                           CallOptions options = {}) const;
  void ReleaseOutputsAsync(std::vector<Claim> claims, Callback<std::vector<absl::Status>> done,
                           CallOptions options = {}) const;
  absl::Status ReleaseOutput(Claim claim, CallOptions options = {}) const;

  // Prolongs claims by `lease` from now, and tells when they will lapse. NOT_FOUND: the call has
  // ended. FAILED_PRECONDITION: the claim is lost.
  Results<absl::Time> RenewClaims(std::vector<Claim> claims, absl::Duration lease,
                                  CallOptions options = {}) const;
  void RenewClaimsAsync(std::vector<Claim> claims, absl::Duration lease,
                        Callback<Results<absl::Time>> done, CallOptions options = {}) const;
  absl::StatusOr<absl::Time> RenewClaim(Claim claim, absl::Duration lease,
                                        CallOptions options = {}) const;

  // Tells the state of calls, never payload. A call that is not there is kUnknown, not an error.
  Results<CallDescription> DescribeCalls(std::vector<std::string> call_ids,
                                         CallOptions options = {}) const;
  void DescribeCallsAsync(std::vector<std::string> call_ids,
                          Callback<Results<CallDescription>> done, CallOptions options = {}) const;
  absl::StatusOr<CallDescription> DescribeCall(const std::string& call_id,
                                               CallOptions options = {}) const;

  // Ends calls in any state, and tells when their payloads were erased; again for a call that was
  // deleted before. NOT_FOUND: it ended otherwise, or never was.
  Results<absl::Time> DeleteCalls(std::vector<std::string> call_ids,
                                  CallOptions options = {}) const;
  void DeleteCallsAsync(std::vector<std::string> call_ids, Callback<Results<absl::Time>> done,
                        CallOptions options = {}) const;
  absl::StatusOr<absl::Time> DeleteCall(const std::string& call_id, CallOptions options = {}) const;

  // Claims the output of a call, hands it to `consume`, and acknowledges it when that returns OK;
  // tells when the payloads were erased. An error of `consume` releases the claim and is returned.
  //
  // The output is delivered at least once until it is acknowledged, and never after. Retrieve
  // itself delivers it once, whatever replies are lost and whether the server restarts, unless a
  // later attempt replaced the output meanwhile: then `consume` is called again, with that one.
  // After an error that is not of `consume`, it may have been called, and the output may be
  // acknowledged or not: retrieving again tells.
  //
  // FAILED_PRECONDITION: OUTPUT_PENDING when nothing came within `wait`; CLAIM_LOST when another
  // client claimed it while `consume` ran. NOT_FOUND: it ended, also by another client's ack.
  // DATA_LOSS: it arrived or was stored damaged.
  absl::StatusOr<absl::Time> Retrieve(
      const std::string& call_id,
      absl::FunctionRef<absl::Status(const ClaimedOutput& output)> consume,
      RetrieveOptions options = {}) const;

  // For Connect and tests; a Core is nothing that a user could make.
  explicit Client(std::shared_ptr<Core> core);

 private:
  std::shared_ptr<Core> core_;
};

}  // namespace mayfly::client
