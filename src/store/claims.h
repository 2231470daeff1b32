// Claims serves the retrieval of outputs: polls, acks, releases and renewals.
//
// A poll registers with the shards of its calls, and is answered when there is something to report
// (poll.h). The outputs that it claimed are then read here, and opened. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"

#include "base/call_id.h"
#include "call/operation.h"
#include "store/callback.h"
#include "store/claimed_output.h"
#include "store/leaving_payload.h"
#include "store/poll.h"
#include "store/reads.h"
#include "store/router.h"

namespace mayfly {

struct ClaimRequest {
  std::vector<CallId> call_ids;
  uint32_t count_max = 0;
  uint64_t bytes_max = 0;
  int64_t wait_ms = 0;
  int64_t lease_ms = 0;
  ClaimToken token{};
  bool ack_before_answer = false;  // AckMode AUTO
  PayloadTaker* taker = nullptr;   // null: there is room for all
};

struct ClaimResponse {
  absl::Status status;  // of the whole: QUOTA_CLAIMS, DRAINING, STORAGE_DOWN
  std::vector<ClaimedOutput> outputs;
  std::vector<EndedCall> ended;
  uint32_t pending_count = 0;
};

// How an ack, a release or a renewal names a claim.
struct ClaimRef {
  CallId call_id;
  ClaimToken token{};
  uint64_t fence = 0;
  std::optional<uint32_t> crc32c;  // ack only: of the data received
  bool if_used_once = false;       // release only: see ReleaseOutput
};

struct EndResult {
  absl::Status status;
  int64_t ended_ms = 0;
};

struct RenewResult {
  absl::Status status;
  int64_t lease_end_ms = 0;
};

// A claim that may still be waiting. Dropping the handle changes nothing.
class ClaimHandle {
 public:
  virtual ~ClaimHandle() = default;
  // Ends the wait, and releases the claims that are not answered.
  virtual void Cancel() = 0;
  // The answer did not reach the client: releases its claims, except those that another answer to
  // the same token reports. To be called after the answer, once.
  virtual void ReleaseAnswer() = 0;
};

// The token as the rules and the tombstone have it: SHA-256, cut.
TokenHash HashToken(const ClaimToken& token);

// Turns the results of acks and deletes into answers.
std::vector<EndResult> EndResultsOf(std::vector<OperationResult> results);

class Claims {
 public:
  Claims(const StoreContext& context, Router* router, Reads* reads)
      : context_(context), router_(*router), reads_(*reads) {}

  // See CallStore.
  std::shared_ptr<ClaimHandle> ClaimOutputs(Tenant* tenant, ClaimRequest request,
                                            Callback<ClaimResponse> done);
  void AckOutputs(Tenant* tenant, std::vector<ClaimRef> claims,
                  Callback<std::vector<EndResult>> done);
  void ReleaseOutputs(Tenant* tenant, std::vector<ClaimRef> claims,
                      Callback<std::vector<absl::Status>> done);
  void RenewClaims(Tenant* tenant, std::vector<ClaimRef> claims, int64_t lease_ms,
                   Callback<std::vector<RenewResult>> done);

  // The results of new claims: outputs, read as far as they fit into bytes_max, and ended calls.
  struct ReadClaims {
    std::vector<ClaimedOutput> outputs;
    std::vector<EndedCall> ended;
    std::vector<NewClaim> missing;  // see ExplainMissing
  };
  ReadClaims ReadClaimed(Tenant* tenant, const std::vector<NewClaim>& claims, uint64_t bytes_max,
                         PayloadTaker* taker);
  // Outputs that were gone when they were to be read: the call has ended, or the claim is lost, because
  // its lease lapsed and another attempt replaced the output. A lost claim says nothing of the call.
  struct Missing {
    std::vector<EndedCall> ended;
    std::vector<CallId> lost;
  };
  void ExplainMissing(Tenant* tenant, const std::vector<NewClaim>& missing, Callback<Missing> done);

 private:
  struct Job;
  class Handle;

  void Unregister(const Job& job);
  void ReadOutputs(std::shared_ptr<Job> job, PollAnswer answer);
  void AckBeforeAnswer(std::shared_ptr<Job> job);
  void ReleaseClaims(Tenant* tenant, const std::vector<NewClaim>& claims);
  void NoteSent(Tenant* tenant, const std::vector<ClaimedOutput>& outputs);

  const StoreContext& context_;
  Router& router_;
  Reads& reads_;
};

}  // namespace mayfly
