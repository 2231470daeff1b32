// LocalStorage keeps everything on one machine: rows in RocksDB, segments of large payloads in segment
// files, secrets in the slot file, hour keys in the keyring.
//
// A row and a slot make a payload together. The slot decides life and death: a row whose slot does
// not hold its generation is dead, whatever RocksDB replays after a crash. So an erasure needs no
// write to RocksDB at all.
//
// Rows are written once and removed once, with the row that says when they are due in the same
// batch. See row_format.h for the bytes and column_families.h for how rows leave.
//
// A row of a segment names where its ciphertext lies. The segment files are synced before the log
// whenever a payload with segments was committed, and once a second. A loss of power may keep the
// rows of segments that were not synced: the start finds those, and their payload was never stored.
//
// The data directory belongs to one process at a time. After the first failed write or sync every
// call is UNAVAILABLE (STORAGE_DOWN); the owner must end the process then.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/file_system.h"
#include "base/mutex.h"
#include "base/secret_bytes.h"
#include "base/thread_pool.h"
#include "keys/keyring.h"
#include "keys/slot_file.h"
#include "storage/local/call_index.h"
#include "storage/local/data_directory.h"
#include "storage/local/database.h"
#include "storage/local/database_files.h"
#include "storage/local/disk_room.h"
#include "storage/local/file_record.h"
#include "storage/local/row_cache.h"
#include "storage/local/row_walk.h"
#include "storage/local/segment_files.h"
#include "storage/local/storage_health.h"
#include "storage/local/sync_group.h"
#include "storage/local/tenant_table.h"
#include "storage/storage.h"

namespace mayfly {

struct LocalStorageOptions {
  std::string data_dir;
  SecretBytes root_key;
  // What the clock says at start, on steady time.
  int64_t now_ms = 0;
  // All memtables that are written to; less on a small disk (disk_plan.h). Replaying them after a
  // crash takes about 5 s per GiB. Default: 350 MiB.
  uint64_t memtable_bytes = uint64_t{350} << 20;
  // Default: 200,000 calls, about 45 MiB.
  size_t index_calls_max = 200'000;
  // Rows kept in memory for those who read them soon. Default: 32 MiB.
  size_t row_cache_bytes = size_t{32} << 20;
  // Room left to other programs: puts are refused when less than this is free beside what the store
  // needs to go on. Default: 64 MiB.
  uint64_t disk_reserve_bytes = uint64_t{64} << 20;
  // The longest that any tenant's tombstones are to last. Default: 24 h.
  int64_t tombstone_ttl_ms_max = int64_t{24} * 3600 * 1000;
  // Keys on a file system that keeps copies of overwritten pages.
  bool allow_unsafe_filesystem = false;
  // Starts although less is there than was once known to be on the disk, gives up what is lost or
  // damaged, and lets it be removed.
  bool accept_data_loss = false;
  StorageLog log;

  // Seams for tests; null is the machine's own.
  FileSystem* file_system = nullptr;
  std::shared_ptr<rocksdb::FileSystem> rocksdb_file_system;
  std::shared_ptr<rocksdb::SystemClock> rocksdb_clock;
  uint64_t disk_bytes = 0;  // of the file system
};

class LocalStorage : public Storage {
 public:
  // Maintain flushes as often as this, which bounds how long the log keeps what was removed.
  static constexpr int64_t kFlushIntervalMs = int64_t{3600} * 1000;

  // Recovers what is there, or makes an empty store where there was none. A crash at any point of
  // the making is recovered by the next start.
  //
  // FAILED_PRECONDITION, with a sentence for the operator: another process has the directory,
  // others may enter it, keys are missing while there is data, the root key is another one, a file
  // is another store's, the file system keeps old pages. DATA_LOSS: the database or the slot file has
  // less than was once synced, or a file is damaged.
  static absl::StatusOr<std::unique_ptr<LocalStorage>> Open(LocalStorageOptions options);
  // The error that Open would have for the keys in `data_dir`, as far as that can be told without
  // changing anything. The directory exists.
  static absl::Status CheckKeys(const std::string& data_dir, const SecretBytes& root_key);
  ~LocalStorage() override;

  absl::StatusOr<std::vector<SlotLease>> ReserveSlots(size_t count) override;
  void ReturnSlots(absl::Span<const SlotRef> slots) override;
  SlotState StateOf(SlotRef slot) const override;
  absl::StatusOr<SecretBytes> ReadSecret(SlotRef slot) const override;
  Keyring* keyring() override;
  uint64_t boot_number() const override;

  void Load(absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) override;
  void Peek(absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) override;
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
  absl::StatusOr<std::vector<TenantUsage>> LoadUsage() override;
  absl::StatusOr<std::vector<TenantUsage>> LoadUsage(uint32_t shard) override;

  absl::StatusOr<std::optional<IdWindowRecord>> LoadIdWindow() override;
  absl::Status SaveIdWindow(const IdWindowRecord& record) override;
  absl::StatusOr<std::optional<std::string>> LoadTimeRecord() override;
  absl::Status SaveTimeRecord(absl::string_view record) override;

  absl::Status Health() const override { return health_.Check(); }
  RoomLease ReserveRoom(uint64_t bytes) override { return room_->Reserve(bytes); }
  RoomLease ClaimRoom(uint64_t bytes) override { return room_->Claim(bytes); }
  absl::Status RoomRefusal(uint64_t bytes) const override { return room_->Refusal(bytes); }
  absl::Status Maintain(int64_t now_ms) override;
  absl::StatusOr<Orphans> FindOrphans() override;
  absl::Status RemoveOrphans(uint32_t shard, const Orphans& orphans,
                             absl::Span<const TenantUsage> usage) override;
  void OrphansRemoved(bool all) override { slots_->OrphansRemoved(all); }
  uint64_t skipped() const override { return skipped_.load(std::memory_order_relaxed); }
  absl::Status VisitPayloads(absl::FunctionRef<void(const DuePayload&)> visit) override;

  absl::StatusOr<std::vector<DuePayload>> Due(int64_t from_s, int64_t until_s, size_t limit,
                                              const std::optional<DuePayload>& after) override;

  // For metrics.
  const SlotFile& slots() const { return *slots_; }
  size_t IndexedCalls() { return index_.size(); }
  size_t segment_files() const { return segment_files_->file_count(); }
  // Reads that met damage: of rows, and of slots whose payload is looked for.
  uint64_t alarms() const { return health_.alarms(); }
  // The first failed write or sync, in words for the operator; empty before.
  std::string failure() const { return health_.failure(); }

 private:
  class CommitBatch;
  class SegmentStart;

  // Rows to be written together, and the segments that no row names once they are.
  struct RowChanges {
    rocksdb::WriteBatch batch;
    std::vector<SegmentExtent> released = {};
  };

  explicit LocalStorage(LocalStorageOptions options);

  absl::Status OpenKeys();
  absl::Status OpenDatabase();
  DiskSettings DiskSettingsIn() const;
  DiskPlan PlanDisk() const;
  absl::Status CheckFiles();
  absl::Status CheckRecovered();
  // Looks whether the files have what rows name, and gives back what none names.
  absl::Status OpenSegmentFiles();
  absl::Status RecordSegmentFiles();
  // OK when nothing is lost, or when the operator has accepted it.
  absl::Status RefuseLoss(const absl::Status& loss) const;
  absl::Status RecordFiles() EXCLUDES_LOCK(file_record_mutex_);
  void RecordFilesSoon();
  absl::StatusOr<DatabaseFiles> FilesInUse() const;
  std::string StoreIdText() const;
  absl::Status EraseWhatTombstonesName();
  absl::Status SyncBoth() EXCLUDES_LOCK(slot_sync_mutex_);
  absl::Status SyncLog();
  absl::Status SyncSlots();

  absl::Status WriteRowsThenSlots(CommitBatch* commit);
  absl::Status WriteSlotsThenRows(CommitBatch* commit) EXCLUDES_LOCK(slots_first_mutex_);
  absl::Status WriteSlots(absl::Span<const SlotWrite> slots);

  enum class Remember { kNo, kYes };
  // `remember`: puts into the index what it did not have.
  void LoadCalls(absl::Span<const CallKey> keys, Remember remember, absl::Span<LoadedCall> loaded);
  // What was read of a call.
  struct ReadCall {
    absl::Status status;
    CallRows rows;
    std::optional<Tombstone> tombstone;
  };
  std::vector<ReadCall> ReadCalls(absl::Span<const CallKey> keys);
  // Sorts a row by its slot into present, erased or damaged, and dead.
  void PlaceRow(const std::optional<StoredPayload>& row, std::optional<StoredPayload>* present,
                std::optional<StoredPayload>* dead) const;

  // What leaves with a row: its due row and its segments.
  void RemoveRowIn(const CallKey& key, PayloadKind kind, const StoredPayload& row,
                   RowChanges* changes) const;
  void RemoveSegmentsIn(const SegmentsRef& segments, RowChanges* changes) const;
  // Those that there are from `first_number` on.
  absl::Status RemoveSegmentsFrom(const SegmentsRef& segments, uint32_t first_number,
                                  RowChanges* changes);
  // For a row that leaves without a tombstone: a start after a crash erases its slot by this.
  void NameErasureIn(const CallKey& key, SlotRef slot, rocksdb::WriteBatch* batch) const;

  absl::Status FlushAll();
  absl::Status DropOldTombstones();
  absl::Status CompactEnded(int64_t now_ms);
  absl::Status FailedCompaction(absl::string_view operation, const rocksdb::Status& status);

  std::vector<bool> LiveSlots(uint64_t generation_limit) EXCLUDES_LOCK(slots_first_mutex_);
  absl::StatusOr<SegmentExtent> FindSegment(const CallKey& key, SlotRef slot,
                                            uint32_t number) const;
  absl::Status FailedAppend(const absl::Status& status, uint64_t bytes) const;
  absl::Status ForEachUpload(absl::FunctionRef<void(StoredUpload)> visit);
  // Both clear the marks of slots that a row names.
  absl::Status FindUploads(std::vector<bool>* unnamed);
  absl::Status FindDeadRows(uint64_t generation_limit, std::vector<bool>* unnamed,
                            Orphans* orphans);
  absl::Status FindDeadSegments(const std::vector<bool>& unnamed, Orphans* orphans);
  // Takes out of both what a crash cannot have left behind.
  absl::Status KeepUnexplained(std::vector<bool>* unnamed, Orphans* orphans);
  // Takes out of both those whose payload has a row of its own, and counts them.
  absl::Status KeepUndated(std::vector<SlotRef>* slots, std::vector<bool>* unnamed,
                           Orphans* orphans);
  // Its payload has ended or never was; not damaged.
  bool IsDead(SlotRef slot) const;
  absl::Status RemoveDeadRow(const DuePayload& due, RowChanges* changes);
  absl::Status RemoveDeadSegments(const SegmentsRef& segments, RowChanges* changes);

  absl::Status Write(rocksdb::WriteBatch* batch, absl::string_view operation);
  absl::Status Write(RowChanges* changes, absl::string_view operation)
      EXCLUDES_LOCK(released_mutex_);
  // A read that failed says nothing about what is written: an alarm, but not the end. DATA_LOSS for
  // damage and for a file that is gone or may not be read, UNAVAILABLE when the disk would not read,
  // which may pass. `key` is null when the read is not for one call.
  absl::Status FailedRead(absl::string_view operation, const rocksdb::Status& status,
                          const CallKey* key = nullptr) const;
  // A row that no Encode has written.
  absl::Status BadRow(absl::string_view operation, const CallKey* key = nullptr) const;
  // Counts what a walk has stepped over; its error if it was given up.
  absl::Status EndWalk(absl::string_view operation, const RowWalk& rows);
  absl::StatusOr<std::vector<TenantUsage>> SumUsage(std::optional<uint32_t> shard);

  LocalStorageOptions options_;
  StorageHealth health_;
  std::unique_ptr<DataDirectory> directory_;
  std::unique_ptr<Keyring> keyring_;
  std::unique_ptr<SlotFile> slots_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<SegmentFiles> segment_files_;
  // Generations of live slots whose payload lost segments to a crash before they were synced: they
  // count as never stored. Filled by the start.
  absl::flat_hash_set<uint64_t> lost_generations_;
  std::unique_ptr<TenantTable> tenants_;
  CallIndex index_;
  RowCache row_cache_;
  std::atomic<uint64_t> skipped_{0};

  // Only the running sync touches it.
  std::optional<uint64_t> synced_sequence_;
  SyncGroup sync_group_;
  Mutex slot_sync_mutex_;
  ConditionVariable slot_sync_done_;
  std::optional<absl::Status> slot_sync_status_ GUARDED_BY(slot_sync_mutex_);

  // A payload with segments was committed since the segment files were last synced.
  std::atomic<bool> segment_sync_wanted_{false};
  // Segments that no row names any more: given back when the log has that.
  Mutex released_mutex_;
  std::vector<SegmentExtent> released_ GUARDED_BY(released_mutex_);

  // Held while slots are live whose rows are not written yet.
  Mutex slots_first_mutex_;
  std::atomic<int> slots_first_count_{0};  // 1 while it is held for that

  // Of those that this process has begun.
  uint64_t first_log_ = 0;
  // The next sync is to include the log, whether or not its sequence has changed.
  std::atomic<bool> log_sync_wanted_{false};
  std::atomic<bool> record_wanted_{false};  // by RecordFilesSoon, and not begun yet
  Mutex file_record_mutex_;
  std::unique_ptr<FileRecord> file_record_ GUARDED_BY(file_record_mutex_);
  std::optional<DatabaseFiles> recorded_files_ GUARDED_BY(file_record_mutex_);

  Mutex time_record_mutex_;

  Mutex maintain_mutex_;
  int64_t flushed_ms_ GUARDED_BY(maintain_mutex_);

  // Last: their threads use what is above. Each also uses those before it.
  ThreadPool release_thread_;
  ThreadPool slot_sync_thread_;
  ThreadPool file_record_thread_;
  std::unique_ptr<DiskRoom> room_;
};

}  // namespace mayfly
