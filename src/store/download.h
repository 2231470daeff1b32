// A Download reads one payload, a segment at a time: each is read when it is asked for, so memory is
// bounded by who asks.
//
// Slot and deadline are looked at again for every segment. A claimed output's lease is prolonged
// while segments are asked for, never past the output's deadline. A download from the beginning
// ends with a look at all segments' commitments in order; one that goes on from an offset leaves
// that to the CRC-32C of the whole, which its reader compares.
//
// Made by Downloads. Reads come one after another; callbacks run on worker threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "call/operation.h"
#include "crypto/sha256.h"
#include "store/leaving_payload.h"
#include "store/payload.h"
#include "store/router.h"

namespace mayfly {

struct DownloadRequest {
  CallId call_id;
  PayloadKind kind = PayloadKind::kInput;
  uint64_t offset_bytes = 0;
  ClaimToken token{};  // outputs only, as is the fence
  uint64_t fence = 0;
  PayloadTaker* taker = nullptr;  // null: there is room
};

class Download : public std::enable_shared_from_this<Download> {
 public:
  Download(const StoreContext& context, Router* router, Tenant* tenant,
           const DownloadRequest& request)
      : context_(context),
        router_(*router),
        tenant_(tenant),
        key_{.id = request.call_id, .tenant = tenant->number},
        kind_(request.kind),
        token_(request.token),
        fence_(request.fence),
        taker_(request.taker),
        offset_bytes_(request.offset_bytes) {}

  // Asks the rules whether the reader may have the payload; for outputs, this renews the claim. `done`
  // runs on any thread.
  void Authorize(absl::AnyInvocable<void(OperationResult)> done);

  // Before Read, on a worker thread: reads the row of the payload that was authorized. NOT_FOUND,
  // DATA_LOSS, OUT_OF_RANGE (OFFSET_MISMATCH) for an offset past the end, RESOURCE_EXHAUSTED
  // (OVERLOADED) when the taker has no room for two segments.
  absl::Status Open(const StoredPayload& stored);

  const CallKey& key() const { return key_; }
  PayloadKind kind() const { return kind_; }
  uint64_t fence() const { return fence_; }
  const StoredPayload& stored() const { return stored_; }
  const PayloadMetadata& metadata() const { return metadata_; }
  // Where the next segment begins.
  uint64_t offset_bytes() const { return offset_bytes_; }

  // The next bytes, up to kSegmentBytes; none at the end. NOT_FOUND with what became of the call,
  // FAILED_PRECONDITION (CLAIM_LOST), DATA_LOSS, UNAVAILABLE.
  using Done = absl::AnyInvocable<void(absl::StatusOr<std::string>)>;
  void Read(Done done);

  // Tells what became of a payload that is not there any more.
  void Explain(absl::AnyInvocable<void(absl::Status)> done);

 private:
  bool TakeRoom();
  bool MustRenew() const;
  void ReadNow(Done done);
  absl::StatusOr<std::string> ReadSegment();
  absl::Status CheckCommitments();

  int64_t lease_ms() const;

  const StoreContext& context_;
  Router& router_;
  Tenant* const tenant_;
  const CallKey key_;
  const PayloadKind kind_;
  const ClaimToken token_;  // outputs only, as is the fence
  const uint64_t fence_;
  PayloadTaker* const taker_;
  uint64_t offset_bytes_;

  StoredPayload stored_;
  PayloadMetadata metadata_;
  std::string small_;  // a payload that its row holds
  Sha256Digest expected_commitments_{};
  Sha256 commitments_;
  bool sees_all_ = false;  // began at 0
  int64_t renewed_ms_ = 0;
};

}  // namespace mayfly
