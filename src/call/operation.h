// The operations on a call and their results. Plain values; apply.h has the rules.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "call/state.h"

namespace mayfly {

// Checks whether a stored payload has the content of a put. The store recomputes the fingerprint
// with the stored payload's key; tests return any answer. An error when it cannot be told: the put is
// refused with it.
class ContentComparer {
 public:
  virtual ~ContentComparer() = default;
  virtual absl::StatusOr<bool> SameContent(const StoredPayload& stored) const = 0;
};

struct PutInput {
  int64_t id_time_ms = 0;  // the time in the call id
  StoredPayload payload;   // as it will be stored: slot reserved, deadline fixed
  const ContentComparer* content = nullptr;
};
struct GetInput {};
struct PutOutput {
  StoredPayload payload;
  const ContentComparer* content = nullptr;
};
using Put = std::variant<PutInput, PutOutput>;
// Asks for the result of a put whose payload is still to be uploaded.
struct BeginUpload {
  Put put;
  // Whether put.content can already compare. If not, the put itself compares after the last
  // segment.
  bool content_is_known = false;
};
// Stores the payload of an upload whose last segment has arrived.
struct FinishUpload {
  Put put;
  // Whether the call has ended since the upload began. Its uploads ended with it.
  bool call_has_ended = false;
};
struct ClaimOutput {
  ClaimToken token{};
  TokenHash token_hash{};
  uint64_t fence = 0;  // for the claim, if one is made
  int64_t lease_ms = 0;
};
// Ack, release and renew name the claim by its token and its fence.
struct AckOutput {
  ClaimToken token{};
  TokenHash token_hash{};
  uint64_t fence = 0;
  std::optional<uint32_t> crc32c = std::nullopt;  // of the data received
};
struct ReleaseOutput {
  ClaimToken token{};
  uint64_t fence = 0;
  // For a response that was not delivered: does not release a claim that was used more than once,
  // because another response to the same token has delivered it too.
  bool if_used_once = false;
};
struct RenewClaim {
  ClaimToken token{};
  uint64_t fence = 0;
  int64_t lease_ms = 0;
  // The renewal comes from a download in progress; the limit on the total of all renewals does not
  // apply.
  bool by_download = false;
};
struct DescribeCall {};
struct DeleteCall {};
// From the sweeper: the payload with this generation is past its deadline.
struct ExpirePayload {
  PayloadKind kind = PayloadKind::kInput;
  uint64_t generation = 0;
  uint32_t slot = 0;  // used if only the deadline of the call can be read
};

using Operation =
    std::variant<PutInput, GetInput, PutOutput, BeginUpload, FinishUpload, ClaimOutput, AckOutput,
                 ReleaseOutput, RenewClaim, DescribeCall, DeleteCall, ExpirePayload>;

// The payload that the operation brings; null when it brings none. Not for BeginUpload, whose payload
// is still to come.
inline const StoredPayload* PayloadOf(const Operation& operation) {
  const auto payload_of = [](const Put& put) {
    return std::visit([](const auto& each) { return &each.payload; }, put);
  };
  if (const auto* input = std::get_if<PutInput>(&operation)) return &input->payload;
  if (const auto* output = std::get_if<PutOutput>(&operation)) return &output->payload;
  if (const auto* finish = std::get_if<FinishUpload>(&operation)) return payload_of(finish->put);
  return nullptr;
}

// The state that DescribeCalls reports to the owning tenant.
enum class CallPhase { kUnknown, kPending, kReady, kClaimed, kConsumed, kDeleted, kExpired };

struct OperationResult {
  absl::Status status;
  // The write failed. The next start may find the change stored or not.
  bool is_uncertain = false;
  // PutInput, PutOutput, FinishUpload, GetInput, ClaimOutput, RenewClaim: the payload concerned, as
  // stored.
  // BeginUpload: the same, if nothing needs to be sent because it already exists.
  std::optional<StoredPayload> payload;
  std::optional<Claim> claim;  // ClaimOutput, RenewClaim
  // The same, and DescribeCall of a claimed output: the end of the lease for clients, steady time.
  int64_t lease_end_ms = 0;
  // ClaimOutput: nothing to claim yet, but waiting may help. BeginUpload: the payload must be sent.
  bool pending = false;
  // AckOutput, DeleteCall: the time of the erasure. DescribeCall: when the call ended, if it has.
  int64_t ended_ms = 0;
  CallPhase phase = CallPhase::kUnknown;  // DescribeCall, with the payloads below
  std::optional<StoredPayload> input;
  std::optional<StoredPayload> output;
};

// The changes that make the new state durable in storage: at most one payload stored, both removed,
// one tombstone. A removed payload's slot is erased once the removal is durable.
struct Effects {
  std::optional<PayloadKind> store;  // the operation's own payload, under this kind
  std::optional<StoredPayload> remove_input;
  std::optional<StoredPayload> remove_output;
  std::optional<Tombstone> tombstone;

  bool empty() const { return !store && !remove_input && !remove_output && !tombstone; }
};

}  // namespace mayfly
