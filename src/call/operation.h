// What can be asked of a call, and what comes of it. Plain values: see apply.h for the rules.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "absl/status/status.h"

#include "call/state.h"

namespace mayfly {

// Tells whether a payload that is stored already has the content of a put. The store answers by
// recomputing the fingerprint under the stored payload's key; tests answer as they like.
class ContentComparer {
 public:
  virtual ~ContentComparer() = default;
  virtual bool SameContent(const StoredPayload& stored) const = 0;
};

struct PutInput {
  int64_t id_time_ms = 0;  // when the call id says that it was minted
  // It ends an upload, whose beginning the window around ids was asked about, and the call has not
  // ended since.
  bool began_in_window = false;
  StoredPayload payload;  // as it will be stored: slot reserved, deadline fixed
  const ContentComparer* content = nullptr;
};
struct GetInput {};
struct PutOutput {
  StoredPayload payload;
  const ContentComparer* content = nullptr;
};
// What a put would come to whose payload is still to be sent.
struct BeginUpload {
  std::variant<PutInput, PutOutput> put;
  // Whether put.content can tell already; else the put tells, once all has come.
  bool content_is_known = false;
};
struct ClaimOutput {
  ClaimToken token{};
  TokenHash token_hash{};
  uint64_t fence = 0;  // given to the claim if one is made
  int64_t lease_ms = 0;
};
// Ack, release and renew name the claim by its token and its fence.
struct AckOutput {
  ClaimToken token{};
  TokenHash token_hash{};
  uint64_t fence = 0;
  std::optional<uint32_t> crc32c = std::nullopt;  // of the data as it was received
};
struct ReleaseOutput {
  ClaimToken token{};
  uint64_t fence = 0;
  // For an answer that did not arrive: leaves alone a claim that was used more than once, since
  // another answer to the same token tells of it too.
  bool if_used_once = false;
};
struct RenewClaim {
  ClaimToken token{};
  uint64_t fence = 0;
  int64_t lease_ms = 0;
  // By a download that makes progress: the limit on all renewals together does not hold for it.
  bool by_download = false;
};
struct DescribeCall {};
struct DeleteCall {};
// From the sweeper: the payload of this generation is past its deadline.
struct ExpirePayload {
  PayloadKind kind = PayloadKind::kInput;
  uint64_t generation = 0;
  uint32_t slot = 0;  // for when nothing but the deadline can be read of the call
};

using Operation = std::variant<PutInput, GetInput, PutOutput, BeginUpload, ClaimOutput, AckOutput,
                               ReleaseOutput, RenewClaim, DescribeCall, DeleteCall, ExpirePayload>;

// As DescribeCalls tells it to the owning tenant.
enum class CallPhase { kUnknown, kPending, kReady, kClaimed, kConsumed, kDeleted, kExpired };

struct OperationResult {
  absl::Status status;
  // The write failed: what was to be stored may be found so by the next start.
  bool is_uncertain = false;
  // PutInput, PutOutput, GetInput, ClaimOutput, RenewClaim: the payload concerned, as it is stored.
  // BeginUpload: the same, when there is nothing to send because it is there already.
  std::optional<StoredPayload> payload;
  std::optional<Claim> claim;  // ClaimOutput, RenewClaim
  int64_t lease_end_ms = 0;    // the same: when its lease ends, as clients are told, on steady time
  // ClaimOutput: nothing to claim yet, worth waiting. BeginUpload: the payload is to be sent.
  bool pending = false;
  int64_t ended_ms = 0;                   // AckOutput, DeleteCall: when it was erased
  CallPhase phase = CallPhase::kUnknown;  // DescribeCall, with the payloads below
  std::optional<StoredPayload> input;
  std::optional<StoredPayload> output;
};

// What storage must do to make the new state durable: at most one payload stored, both removed,
// one tombstone. A removed payload's slot is erased once the removal is durable.
struct Effects {
  std::optional<PayloadKind> store;  // the operation's own payload, under this kind
  std::optional<StoredPayload> remove_input;
  std::optional<StoredPayload> remove_output;
  std::optional<Tombstone> tombstone;

  bool empty() const { return !store && !remove_input && !remove_output && !tombstone; }
};

}  // namespace mayfly
