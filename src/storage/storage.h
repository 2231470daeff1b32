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
// Every error of Commit, Sync and Erase is final, for the process or for the shard, as its kind says
// (storage_error.h). No call is retried. A read that fails is not: it concerns the calls it was
// for, which are told DATA_LOSS (AUTHENTICATION_FAILED) when what is stored is damaged, and UNAVAILABLE
// (STORAGE_DOWN) when the disk would not read it. Walks over all rows step over what cannot be read.
//
//   rows.h      calls: Load, Commit, due rows, uploads      secrets.h    slots and keys
//   segments.h  large payloads                              registry.h   tenants, usage, records
//
// Load, Commit and RemoveOrphans are for the committer of the calls' shard; everything else is
// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "storage/registry.h"
#include "storage/room.h"
#include "storage/rows.h"
#include "storage/secrets.h"
#include "storage/segments.h"

namespace mayfly {

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

class Storage : public Rows, public Secrets, public Segments, public Registry {
 public:
  // Returns when all that was committed and erased before the call is on the disk.
  virtual absl::Status Sync() = 0;
  // Makes durable what storage knows to be on the disk, files included, by which a start tells that
  // something is lost; and the segments of uploads, which no Sync waits for. For once a second and the
  // end: costs up to four syncs when there is news.
  virtual absl::Status SyncRecord() = 0;

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
};

}  // namespace mayfly
