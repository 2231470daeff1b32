// The rows of calls: what is known of each, and the ciphertext of small payloads.
//
// Load and Commit are for the committer of the calls' shard; everything else is thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "base/secret_bytes.h"
#include "call/operation.h"
#include "call/state.h"
#include "retention/due.h"
#include "storage/registry.h"
#include "storage/sealed.h"

namespace mayfly {

struct LoadedCall {
  // Not OK when a row of the call cannot be read: then nothing is known of the call, not even that
  // it has no tombstone.
  absl::Status status;
  CallState state;  // without the claim, which is not storage's
  // Rows whose slot never held their generation: a crash came between row and slot. They count as
  // absent, and leave with the next row that takes their place.
  std::optional<StoredPayload> dead_input;
  std::optional<StoredPayload> dead_output;
};

// An upload that ends with its call.
struct EndedUpload {
  UploadId id{};
  SlotRef slot;
};

// The effects of one operation on one call, in the order applied.
struct CallChange {
  CallKey key;
  Effects effects;
  const LoadedCall* loaded = nullptr;  // as Load gave it, before the first change of the batch
  // When effects.store is set: the payload, its secret, and the row's ciphertext.
  StoredPayload payload;
  const SecretBytes* secret = nullptr;
  const Sealed* row = nullptr;
  // When the payload was uploaded: its slot is written already, and the upload's row leaves.
  const UploadId* upload = nullptr;
  // When the call ends: its uploads, whose rows leave.
  std::vector<EndedUpload> ended_uploads;
};

// A payload on its way. Its slot and segments are those that the payload will have.
struct StoredUpload {
  UploadId id{};
  CallKey key;
  PayloadKind kind = PayloadKind::kInput;
  StoredPayload payload;  // size_bytes as announced, 0 when it was not
  Sealed metadata;
};

struct PayloadRef {
  CallKey key;
  PayloadKind kind = PayloadKind::kInput;
  SlotRef slot;
};

class Rows : public DueSource {
 public:
  // Each call has its own status; one that is not OK says nothing of the others.
  virtual void Load(absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) = 0;
  // The same for any thread: what was committed before is seen, what is being committed may be.
  virtual void Peek(absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) = 0;
  // Writes slots and rows, all of the changes or none, and the shard's absolute usage with them. An
  // error is of the whole, and says by its kind what becomes of the shard (storage_error.h).
  virtual absl::Status Commit(uint32_t shard, absl::Span<const CallChange> changes,
                              absl::Span<const TenantUsage> usage) = 0;
  // The ciphertext of rows, one answer per ref. NOT_FOUND when the row is gone or is another's.
  virtual std::vector<absl::StatusOr<Sealed>> ReadRows(absl::Span<const PayloadRef> refs) = 0;

  // Uploads: like rows and slots committed, but for any thread. An upload is kept until a Commit
  // names it or it is removed: erased first, so that nothing of it is readable afterwards.
  virtual absl::Status StoreUpload(const StoredUpload& upload, const SecretBytes& secret) = 0;
  virtual absl::Status RemoveUpload(const StoredUpload& upload) = 0;
  // Those whose slot is live, at start; of the others nothing stays.
  virtual absl::StatusOr<std::vector<StoredUpload>> LoadUploads() = 0;

  // How often a walk over rows had to step over some that could not be read, Due included.
  virtual uint64_t skipped() const = 0;
  // Every payload as Due tells it, from the payloads' own rows: reads all of them, and is for when
  // Due had to step over some, or some are undated. Nothing is held while `visit` runs.
  virtual absl::Status VisitPayloads(absl::FunctionRef<void(const DuePayload&)> visit) = 0;
};

}  // namespace mayfly
