// Storage keeps rows, segments and secrets, and knows no rule.
//
// The store above it decides by call/apply.h what happens to a call and hands the effects down.
// One machine's engine (local/) and a cluster's differ in these few calls, and the rules do not
// know which one runs.
//
// A committer's group goes through two phases:
//
//   Load -> (apply) -> Commit -> Sync           puts are durable, and may be answered
//                   -> Erase  -> SyncErasures   acks and deletes are gone, and may be answered
//
// Erase comes after the Sync that made the removal durable, wherever it matters what a loss of
// power between the two leaves: an output that a later attempt was about to replace would be lost.
// One Sync may serve the erasures of one group and the commits of the next.
//
// Every error of Commit, Sync and Erase is final: what the disk holds is unknown, so the process
// must end and recover from what is really there. No call is ever retried. A read that fails is
// not: it concerns the calls it was for, which are told DATA_LOSS (AUTHENTICATION_FAILED) when what
// is stored is damaged, and UNAVAILABLE (STORAGE_DOWN) when the disk would not read it. Health()
// tells whether it is the end. Walks over all rows step over what cannot be read.
//
// Load, Commit and RemoveOrphans are for the committer of the calls' shard; everything else is
// thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "base/secret_bytes.h"
#include "call/operation.h"
#include "call/state.h"
#include "keys/keyring.h"
#include "keys/slot_file.h"
#include "retention/due.h"
#include "storage/room.h"
#include "storage/sealed.h"

namespace mayfly {

// The largest payload that is kept in its row: longer ones go into segments.
inline constexpr uint64_t kInlineBytesMax = 64 << 10;
// Plaintext bytes of every segment but the last.
inline constexpr uint64_t kSegmentBytes = 1 << 20;

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

struct TenantUsage {
  TenantNumber tenant{};
  int64_t live_calls = 0;
  int64_t live_bytes = 0;  // plaintext bytes of payloads
};

struct TenantRecord {
  TenantNumber number{};
  int64_t dead_before_ms = 0;  // payloads stored at or before this are dead; only rises
  int64_t max_ttl_ms = 0;      // in force when the record was written
};

// Up to which distance from now the times in new calls' ids are accepted, in milliseconds.
struct IdWindowRecord {
  int64_t window_ms = 0;    // in force
  int64_t narrower_ms = 0;  // in force before it was widened, as long as the floor matters
  int64_t floor_ms = 0;     // ids up to this time were outside then

  friend bool operator==(const IdWindowRecord&, const IdWindowRecord&) = default;
};

struct PayloadRef {
  CallKey key;
  PayloadKind kind = PayloadKind::kInput;
  SlotRef slot;
};

struct SegmentsRef {
  CallKey key;
  SlotRef slot;
  uint32_t count = 0;
};

// The remains of a crash. Found by comparing the deadlines family with the slots, and the payloads'
// own rows where the two do not agree.
struct Orphans {
  std::vector<DuePayload> rows;       // rows whose slot is dead
  std::vector<SlotRef> slots;         // live slots that no row names
  std::vector<SegmentsRef> segments;  // segments whose slot is dead; count is not filled in
  // More than a crash can leave behind: evidence of damage, which stays as it is unless the operator
  // has accepted the loss.
  size_t damaged_row_count = 0;   // rows whose slot is damaged
  size_t unnamed_slot_count = 0;  // live slots that no row names
  // Live payloads that Due does not tell of: their rows of the deadlines family are lost. They stay
  // readable, and VisitPayloads tells when they are due.
  size_t undated_payload_count = 0;
  bool is_whole = true;  // false: some rows could not be read, and slots were not judged

  bool empty() const { return rows.empty() && slots.empty() && segments.empty(); }
};

class Storage : public DueSource {
 public:
  // Secrets: see keys/slot_file.h. A reserved slot is either committed or returned.
  virtual absl::StatusOr<std::vector<SlotLease>> ReserveSlots(size_t count) = 0;
  virtual void ReturnSlots(absl::Span<const SlotRef> slots) = 0;
  virtual SlotState StateOf(SlotRef slot) const = 0;
  // NOT_FOUND when the slot does not hold that generation, DATA_LOSS when it is damaged.
  virtual absl::StatusOr<SecretBytes> ReadSecret(SlotRef slot) const = 0;
  virtual Keyring* keyring() = 0;

  // Rises with every start, before anything is served.
  virtual uint64_t boot_number() const = 0;

  // Each call has its own status; an error of the whole is the end.
  virtual absl::Status Load(absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) = 0;
  // The same for any thread: what was committed before is seen, what is being committed may be.
  virtual absl::Status Peek(absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) = 0;
  // Writes slots and rows, all of the changes or none, and the shard's absolute usage with them.
  virtual absl::Status Commit(uint32_t shard, absl::Span<const CallChange> changes,
                              absl::Span<const TenantUsage> usage) = 0;
  // Returns when all that was committed and erased before the call is on the disk.
  virtual absl::Status Sync() = 0;
  // Makes durable what storage knows to be on the disk, files included, by which a start tells that
  // something is lost. For once a second and the end: costs up to three syncs when there is news.
  virtual absl::Status SyncRecord() = 0;
  // Returns when all that was erased before the call is on the disk; what was committed may not be.
  virtual absl::Status SyncErasures() = 0;
  // Overwrites the slots' secrets. A slot is free for reuse after the next Sync: until the removal of
  // its row is durable too, its erased mark is what tells that the payload has ended.
  virtual absl::Status Erase(absl::Span<const SlotRef> slots) = 0;

  // The ciphertext of rows, one answer per ref. NOT_FOUND when the row is gone or is another's.
  virtual std::vector<absl::StatusOr<Sealed>> ReadRows(absl::Span<const PayloadRef> refs) = 0;

  // Segments are written ahead of the row that makes them visible; the row's Sync covers them.
  virtual absl::Status WriteSegment(const CallKey& key, SlotRef slot, uint32_t number,
                                    const Sealed& segment) = 0;
  virtual absl::StatusOr<Sealed> ReadSegment(const CallKey& key, SlotRef slot, uint32_t number) = 0;
  // For a payload that was refused; committed ones lose theirs with their row.
  virtual absl::Status RemoveSegments(const SegmentsRef& segments) = 0;

  // Uploads: like rows and slots committed, but for any thread. An upload is kept until a Commit
  // names it or it is removed: erased first, so that nothing of it is readable afterwards.
  virtual absl::Status StoreUpload(const StoredUpload& upload, const SecretBytes& secret) = 0;
  virtual absl::Status RemoveUpload(const StoredUpload& upload) = 0;
  // Those whose slot is live, at start; of the others nothing stays.
  virtual absl::StatusOr<std::vector<StoredUpload>> LoadUploads() = 0;

  // The tenant's record, made and synced at its first use.
  virtual absl::StatusOr<TenantRecord> ResolveTenant(absl::string_view name,
                                                     int64_t max_ttl_ms) = 0;
  virtual absl::StatusOr<std::vector<std::pair<std::string, TenantRecord>>> Tenants() = 0;
  virtual absl::Status UpdateTenant(absl::string_view name, const TenantRecord& record) = 0;
  // Summed over all shards that ever were, and this shard's part of it.
  virtual absl::StatusOr<std::vector<TenantUsage>> LoadUsage() = 0;
  virtual absl::StatusOr<std::vector<TenantUsage>> LoadUsage(uint32_t shard) = 0;

  // The window around call ids (store/id_window.h): nullopt when none was saved. Saving syncs.
  virtual absl::StatusOr<std::optional<IdWindowRecord>> LoadIdWindow() = 0;
  virtual absl::Status SaveIdWindow(const IdWindowRecord& record) = 0;

  // The clock's record (retention/timekeeper.h), replaced as a whole.
  virtual absl::StatusOr<std::optional<std::string>> LoadTimeRecord() = 0;
  virtual absl::Status SaveTimeRecord(absl::string_view record) = 0;

  // UNAVAILABLE (STORAGE_DOWN) after the first failure, of background work too.
  virtual absl::Status Health() const = 0;
  // Room for a put or a segment, by RoomBudget::CostOf*; empty when there is none: puts are refused,
  // acks and sweeps go on.
  virtual RoomLease ReserveRoom(uint64_t bytes) = 0;
  // The same, whether there is room or not: for little, by which room comes back.
  virtual RoomLease ClaimRoom(uint64_t bytes) = 0;
  // What a put is then told: RESOURCE_EXHAUSTED (DISK_FULL), with a retry delay.
  virtual absl::Status RoomRefusal(uint64_t bytes) const = 0;
  // Physical clean-up that is due by now: called about every minute, may take long.
  virtual absl::Status Maintain(int64_t now_ms) = 0;
  virtual absl::StatusOr<Orphans> FindOrphans() = 0;
  // Checks each again and removes it, and writes with it the shard's absolute usage. `orphans` may be
  // any part of what FindOrphans gave; its rows are the shard's.
  virtual absl::Status RemoveOrphans(uint32_t shard, const Orphans& orphans,
                                     absl::Span<const TenantUsage> usage) = 0;
  // The calls of rows whose slot is erased are ended, all parts were removed, and that is synced. With
  // `all` nothing was left out: what is found dead from now on was not left by the crash before this
  // start.
  virtual void OrphansRemoved(bool all) = 0;

  // How often a walk over rows had to step over some that could not be read, Due included.
  virtual uint64_t skipped() const = 0;
  // Every payload as Due tells it, from the payloads' own rows: reads all of them, and is for when
  // Due had to step over some, or some are undated. Nothing is held while `visit` runs.
  virtual absl::Status VisitPayloads(absl::FunctionRef<void(const DuePayload&)> visit) = 0;
};

}  // namespace mayfly
