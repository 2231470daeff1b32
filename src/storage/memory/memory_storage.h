// MemoryStorage is a Storage for tests: it keeps what storage/storage.h promises, in plain maps, on a
// MemoryDisk that a test crashes and damages as it likes.
//
// It shares no code with local storage but the rules of the interface, so a test that passes on both
// says something about the interface, and a store that runs on it runs on what it may rely on and on
// nothing more. Rows go before the slots of the same commit, or after them where a live payload is
// replaced, as there; each step asks `on_operation` first, and may fail by it, or be delayed. A commit
// may also find that its shard has another owner, or not learn whether it was done: what engines
// on several machines answer.
//
// Thread-safe as far as storage.h wants it. One thread, one seed and one story make one run: only the
// hour keys are random, and nothing depends on them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/mutex.h"
#include "base/secret_bytes.h"
#include "storage/memory/disk_operation.h"
#include "storage/memory/memory_disk.h"
#include "storage/memory/memory_secrets.h"
#include "storage/storage.h"

namespace mayfly {

struct MemoryStorageOptions {
  MemoryDisk* disk = nullptr;  // outlives the storage
  SecretBytes root_key;
  int64_t now_ms = 0;  // what the clock says at start, on steady time
  // The longest that any tenant's tombstones are to last. Default: 24 h.
  int64_t tombstone_ttl_ms_max = int64_t{24} * 3600 * 1000;
  // Puts are refused when they have taken as much. Default: 1 TiB.
  uint64_t room_bytes = uint64_t{1} << 40;
  OnDiskOperation on_operation;  // null: nothing fails
};

class MemoryStorage final : public Storage {
 public:
  // Recovers what the disk has. Ends the storage that was open on it. DATA_LOSS when a slot is
  // damaged, and what `on_operation` gives.
  static absl::StatusOr<std::unique_ptr<MemoryStorage>> Open(MemoryStorageOptions options);

  absl::StatusOr<std::vector<SlotLease>> ReserveSlots(size_t count) override;
  void ReturnSlots(absl::Span<const SlotRef> slots) override;
  SlotState StateOf(SlotRef slot) const override;
  absl::StatusOr<SecretBytes> ReadSecret(SlotRef slot) const override;
  Keyring* keyring() override { return keyring_.get(); }
  uint64_t boot_number() const override { return boot_number_; }

  void Load(absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) override;
  void Peek(absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) override {
    Load(keys, loaded);
  }
  absl::Status Commit(uint32_t shard, absl::Span<const CallChange> changes,
                      absl::Span<const TenantUsage> usage) override;
  absl::Status Sync() override;
  absl::Status SyncRecord() override;
  absl::Status SyncErasures() override;
  absl::Status Erase(absl::Span<const SlotRef> slots) override;

  std::vector<absl::StatusOr<Sealed>> ReadRows(absl::Span<const PayloadRef> refs) override;
  absl::Status WriteSegment(const CallKey& key, SlotRef slot, uint32_t number, int64_t deadline_ms,
                            const Sealed& segment) override;
  absl::StatusOr<Sealed> ReadSegment(const CallKey& key, SlotRef slot, uint32_t number) override;
  absl::Status RemoveSegments(const SegmentsRef& segments) override;
  absl::Status StoreUpload(const StoredUpload& upload, const SecretBytes& secret) override;
  absl::Status RemoveUpload(const StoredUpload& upload) override;
  absl::StatusOr<std::vector<StoredUpload>> LoadUploads() override;

  absl::StatusOr<TenantRecord> ResolveTenant(absl::string_view name, int64_t max_ttl_ms) override;
  absl::StatusOr<std::vector<std::pair<std::string, TenantRecord>>> Tenants() override;
  absl::Status UpdateTenant(absl::string_view name, const TenantRecord& record) override;
  absl::StatusOr<std::vector<TenantUsage>> LoadUsage() override { return SumUsage({}); }
  absl::StatusOr<std::vector<TenantUsage>> LoadUsage(uint32_t shard) override {
    return SumUsage(shard);
  }

  absl::StatusOr<std::optional<IdWindowRecord>> LoadIdWindow() override;
  absl::Status SaveIdWindow(const IdWindowRecord& record) override;
  absl::StatusOr<std::optional<std::string>> LoadTimeRecord() override;
  absl::Status SaveTimeRecord(absl::string_view record) override;

  absl::Status Health() const override;
  RoomLease ReserveRoom(uint64_t bytes) override { return room_.Reserve(bytes); }
  RoomLease ClaimRoom(uint64_t bytes) override { return room_.Claim(bytes); }
  absl::Status RoomRefusal(uint64_t bytes) const override { return room_.Refusal(bytes); }
  absl::Status Maintain(int64_t now_ms) override;
  absl::StatusOr<Orphans> FindOrphans() override;
  absl::Status RemoveOrphans(uint32_t shard, const Orphans& orphans,
                             absl::Span<const TenantUsage> usage) override;
  void OrphansRemoved(bool all) override;
  uint64_t skipped() const override;
  absl::Status VisitPayloads(absl::FunctionRef<void(const DuePayload&)> visit) override;

  absl::StatusOr<std::vector<DuePayload>> Due(int64_t from_s, int64_t until_s, size_t limit,
                                              const std::optional<DuePayload>& after) override;

  // Room that puts may take from now on.
  void SetRoom(uint64_t bytes);

 private:
  explicit MemoryStorage(MemoryStorageOptions options);

  absl::Status Start();
  absl::Status EraseNamedSlots();

  absl::Status Ask(DiskOperation operation) const;
  // STORAGE_DOWN after a failure or a crash.
  absl::Status CheckHealth() const REQUIRES_LOCK(disk_.mutex_);
  // kFenced once the shard is lost.
  absl::Status CheckShard(uint32_t shard) const EXCLUDES_LOCK(disk_.mutex_);
  // What `on_operation` says of a commit: it is done in full when the status is OK or `is_done`.
  struct Conflict {
    absl::Status status;
    bool is_done = false;
  };
  Conflict AskForConflict(uint32_t shard) EXCLUDES_LOCK(disk_.mutex_);
  // Whether the step is to be done, all of it; when it has failed, `may_do_part` says whether some.
  struct Step {
    absl::Status status;
    bool may_do_part = false;
  };
  Step Begin(DiskOperation operation, const absl::Status& asked) REQUIRES_LOCK(disk_.mutex_);

  absl::Status WriteRows(RowBatch batch) EXCLUDES_LOCK(disk_.mutex_);
  absl::Status WriteCommit(RowBatch batch, absl::Span<const SlotWrite> slots, bool slots_first)
      EXCLUDES_LOCK(disk_.mutex_);
  absl::Status WriteSlots(absl::Span<const SlotWrite> writes) EXCLUDES_LOCK(disk_.mutex_);
  absl::Status SyncRows(uint64_t batch_count) EXCLUDES_LOCK(disk_.mutex_);
  // Syncs slots and record, which share a file, when either has changed, or only when the record has.
  enum class SlotSync { kSlots, kRecord };
  absl::Status SyncSlots(SlotSync wanted) EXCLUDES_LOCK(disk_.mutex_);
  absl::Status RecordRows(uint64_t generation) EXCLUDES_LOCK(disk_.mutex_);

  RowBatch BatchOf(uint32_t shard, absl::Span<const CallChange> changes,
                   absl::Span<const TenantUsage> usage) const;
  bool ReplacesLive(absl::Span<const CallChange> changes) const EXCLUDES_LOCK(disk_.mutex_);
  LoadedCall LoadOne(const CallKey& key) const REQUIRES_LOCK(disk_.mutex_);
  void PlaceRow(const MemoryRow* row, std::optional<StoredPayload>* present,
                std::optional<StoredPayload>* dead) const REQUIRES_LOCK(disk_.mutex_);
  absl::StatusOr<std::vector<TenantUsage>> SumUsage(std::optional<uint32_t> shard);
  bool IsDead(SlotRef slot) const REQUIRES_LOCK(disk_.mutex_);
  void FindDeadSegments(Orphans* orphans) const REQUIRES_LOCK(disk_.mutex_);

  const MemoryStorageOptions options_;
  MemoryDisk& disk_;
  std::unique_ptr<Keyring> keyring_;
  std::unique_ptr<MemorySecrets> secrets_;
  uint64_t boot_number_ = 0;
  RoomBudget room_;

  // Under the disk's mutex.
  uint64_t incarnation_ = 0;
  mutable bool failed_ = false;
  int slots_first_count_ = 0;  // commits under way that have written slots before their rows
  uint64_t skipped_ = 0;
  std::set<uint32_t> lost_shards_;
};

}  // namespace mayfly
