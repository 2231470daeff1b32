// Reads turns rows into plaintext, for gets, claims and downloads.
//
// A row, its secret and its deadline are looked at after the rules have decided, so that a payload
// that ended meanwhile is not read. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/call_id.h"
#include "call/operation.h"
#include "call/state.h"
#include "store/callback.h"
#include "store/leaving_payload.h"
#include "store/payload.h"
#include "store/router.h"

namespace mayfly {

struct InputResult {
  absl::Status status;
  std::optional<Payload> payload;  // absent when it did not fit into max_bytes
  uint64_t size_bytes = 0;
  int64_t deadline_ms = 0;
};

// A payload to be read, and how that went.
struct ReadItem {
  CallKey key;
  StoredPayload stored;
  absl::StatusOr<Payload> payload = absl::StatusOr<Payload>();  // UNKNOWN until it is read
};

class Reads {
 public:
  Reads(const StoreContext& context, Router* router) : context_(context), router_(*router) {}

  // See CallStore.
  void GetInputs(Tenant* tenant, std::vector<CallId> call_ids, uint64_t bytes_max,
                 Callback<std::vector<InputResult>> done, PayloadTaker* taker);

  // NOT_FOUND for what has ended, DATA_LOSS or UNAVAILABLE for what cannot be read.
  void ReadPayloads(Tenant* tenant, PayloadKind kind, std::vector<ReadItem>* items);
  // That of the payload's data, for acks.
  absl::StatusOr<uint32_t> ReadCrc32c(Tenant* tenant, const ReadItem& output);
  // Whether `taker` has room for it; a null one takes all.
  bool Take(PayloadTaker* taker, const Tenant& tenant, const StoredPayload& stored);
  // Asks the rules what became of payloads that were gone between decision and reading, each by an
  // operation that is refused when the payload has ended. If it is not refused, the payload is lost:
  // DATA_LOSS.
  using Question = std::pair<CallId, Operation>;
  void ExplainMissing(Tenant* tenant, std::vector<Question> questions,
                      Callback<std::vector<absl::Status>> done);

 private:
  struct GetJob;

  // How GetInput decides on each call as its rows are now. Empty when it refuses any: a refusal comes
  // from the shard, which knows what is answered already.
  std::vector<OperationResult> LookUpInputs(Tenant* tenant, const std::vector<CallId>& call_ids);
  void ReadInputs(std::shared_ptr<GetJob> job, std::vector<OperationResult> results);
  absl::StatusOr<Payload> OpenRow(Tenant* tenant, PayloadKind kind, const ReadItem& item,
                                  const absl::StatusOr<Sealed>& row);

  const StoreContext& context_;
  Router& router_;
};

}  // namespace mayfly
