// The SlotFile keeps one 20-byte secret per stored payload, and decides life and death: a row whose
// slot does not hold its generation is dead, whatever else was recovered. Unless its secret is known
// to have been on the disk: then it is damaged, which is another thing than never stored.
//
// Life of a slot:  Reserve -> Write -> Sync -> ... -> Erase -> Sync and RowsSynced -> free
//                          -> Return -> free
//
// A generation is given once, store-wide and for ever: its upper 24 bits are the boot number, which
// is raised and synced before Open returns, its lower 40 count the reservations of this boot. An
// erased slot keeps its generation with an erased mark until it is written again.
//
// Secrets must not stay behind. Erase overwrites in place; the slot is reused only after a Sync
// that began after the overwriting has succeeded. keys/key_directory.h refuses the file systems
// where "in place" is not true. slot_format.h has the bytes.
//
// Nor must the erased mark be lost while the payload's row may come back: the mark is then all that
// tells that the payload has ended. A slot is reused only when the removal of its row is durable too.
// A start cannot know that of the slots erased last, and keeps them until OrphansRemoved.
//
// Every failed write or sync is final: what the disk holds is unknown, all later calls fail with
// UNAVAILABLE, and the process must end and open the file again. Only a Reserve that could not
// extend the file may be tried again.
//
// Thread-safe. Reserve and Return cost O(1) per slot, a search among the reservations under way per
// call, and no I/O, except when the file grows (by
// written, synced zeros, 16 MiB at most). StateOf and ReadSecret read a mapping and take no lock.
// Writing and erasing cost one pwrite per run of neighbours; simultaneous Syncs share one
// fdatasync. Memory: a quarter of a byte per slot, beside the mapping.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "base/file_system.h"
#include "base/mutex.h"
#include "base/secret_bytes.h"
#include "base/slot_ref.h"
#include "keys/slot_allocator.h"
#include "keys/slot_format.h"

namespace mayfly {

struct SlotLease {
  SlotRef ref;
  SecretBytes secret;
};

struct SlotWrite {
  SlotRef ref;
  const SecretBytes* secret = nullptr;
};

enum class SlotState : uint8_t {
  kLive,
  kErased,       // held this generation, and its secret was overwritten: the payload has ended
  kNeverStored,  // a crash lost the payload's write before its sync
  kDamaged,      // a bad checksum, or what was once synced is not there: no crash explains it
};

// capacity = free + reserved + live + unsynced + damaged.
struct SlotCounts {
  uint64_t capacity = 0;
  uint64_t free = 0;
  uint64_t reserved = 0;
  uint64_t live = 0;
  uint64_t unsynced = 0;  // erased, waiting for Sync and RowsSynced
  uint64_t damaged = 0;   // found damaged, and kept until erased
};

struct SlotFileOptions {
  // Whose the file is; nullopt takes any.
  std::optional<StoreId> store_id = std::nullopt;
  // Opens a file that is shorter than it was or has damaged slots, and gives up what these held.
  bool accept_data_loss = false;
  // An erased slot is reused only after RowsSynced too, not after its Sync alone.
  bool waits_for_rows = false;
};

class SlotFile {
 public:
  static bool Exists(FileSystem* file_system, const std::string& directory);

  // Makes a file, with a new store id if none is given, durable before it returns, and opens it.
  // ALREADY_EXISTS when there is one.
  static absl::StatusOr<std::unique_ptr<SlotFile>> Create(FileSystem* file_system,
                                                          const std::string& directory,
                                                          const SlotFileOptions& options = {});
  // NOT_FOUND when there is no file, FAILED_PRECONDITION when it is another store's, DATA_LOSS when
  // it is shorter than it was or has a damaged header or slot. Nothing is written before all of this
  // is checked. Reads the file once.
  static absl::StatusOr<std::unique_ptr<SlotFile>> Open(FileSystem* file_system,
                                                        const std::string& directory,
                                                        const SlotFileOptions& options = {});

  uint64_t boot_number() const { return boot_number_; }
  const StoreId& store_id() const { return store_id_; }
  // The sequence of the row store that was last known to be synced: recovering less is data loss.
  uint64_t synced_sequence() const { return synced_sequence_.load(); }

  // Slots with fresh secrets, neighbours as far as there are any. UNAVAILABLE when the file cannot
  // be extended, RESOURCE_EXHAUSTED at kSlotCountMax.
  absl::StatusOr<std::vector<SlotLease>> Reserve(size_t count) EXCLUDES_LOCK(mutex_, grow_mutex_);
  // Gives back what was reserved and never written.
  void Return(absl::Span<const SlotRef> refs) EXCLUDES_LOCK(mutex_);

  // Writes reserved slots. Durable after the next Sync.
  absl::Status Write(absl::Span<const SlotWrite> writes) EXCLUDES_LOCK(mutex_, write_mutex_);
  // Overwrites the secrets of slots that hold the generation given, or that are damaged; leaves all
  // others alone, so erasing twice is harmless. Durable after the next Sync.
  absl::Status Erase(absl::Span<const SlotRef> refs) EXCLUDES_LOCK(mutex_, write_mutex_);
  // Returns when all that was written and erased before the call is on the disk. Leaves the disk
  // alone when nothing was.
  absl::Status Sync() EXCLUDES_LOCK(mutex_, sync_mutex_);
  // Whether the next Sync has something to do. A sync that is under way does not count.
  bool is_dirty() const { return dirty_.load(std::memory_order_acquire); }
  // Records that the row store is synced up to `sequence`, the rows of all slots below `generation`
  // included, and which of these slots are synced. A killed process leaves the record behind; a loss
  // of power may take it until the next Sync that has something to do, or SyncRecord.
  absl::Status RecordSynced(uint64_t sequence, uint64_t generation) EXCLUDES_LOCK(record_mutex_);
  // Makes the record durable, if it is not.
  absl::Status SyncRecord() EXCLUDES_LOCK(mutex_, sync_mutex_);
  // Lowers the sequence, durably, when the operator has accepted a data loss. Between Open and the
  // first Sync only.
  absl::Status ResetSyncedSequence(uint64_t synced_sequence)
      EXCLUDES_LOCK(mutex_, sync_mutex_, record_mutex_);
  // How many slots this object has erased, those of earlier boots that are kept not included.
  uint64_t erasure_count() const EXCLUDES_LOCK(mutex_);
  // The rows of the first `erasure_count` erased slots are gone for good.
  void RowsSynced(uint64_t erasure_count) EXCLUDES_LOCK(mutex_);
  // The caller has ended the calls of rows whose slots are erased, and removed the rows whose slots
  // the last crash took. `all`: as far as it could find out all of them. Then a row whose slot
  // was synced and does not hold it is damaged from now on, those of this boot included.
  void OrphansRemoved(bool all) EXCLUDES_LOCK(mutex_);

  SlotState StateOf(SlotRef ref) const;
  // NOT_FOUND unless the slot is live with that generation, DATA_LOSS (AUTHENTICATION_FAILED) when
  // it is damaged.
  absl::StatusOr<SecretBytes> ReadSecret(SlotRef ref) const;

  // Keeps a slot that StateOf calls kDamaged from being given to others until it is erased.
  void Quarantine(SlotRef ref) EXCLUDES_LOCK(mutex_);

  // For scrubbing: every generation below it has been reserved by now.
  uint64_t NextGeneration() const EXCLUDES_LOCK(mutex_);
  // Every slot of a generation below it has been written or returned by now.
  uint64_t WrittenGeneration() const EXCLUDES_LOCK(mutex_);
  // As recorded by earlier starts: the slots of generations below it were synced, and so were
  // their rows. 0 when the operator has accepted a data loss.
  uint64_t recorded_generation() const { return recorded_generation_; }
  // Slots that are written, not erased and of a generation below `generation`, among
  // `slot_count` slots from `first_slot` on. Walk from 0 to capacity() in bounded steps.
  std::vector<SlotRef> LiveSlotsBelow(uint64_t generation, uint32_t first_slot,
                                      uint32_t slot_count) const;
  uint32_t capacity() const { return capacity_.load(std::memory_order_acquire); }
  SlotCounts Counts() const EXCLUDES_LOCK(mutex_);
  // Reads that met a slot beyond the end or with a bad checksum, opening included.
  uint64_t alarms() const { return alarms_.load(std::memory_order_relaxed); }

 private:
  // Slots that were reserved by one call and are neither written nor returned.
  struct Reservation {
    std::vector<uint32_t> slots;  // by generation; kNoSlot once written or returned
    size_t left = 0;
  };
  static constexpr uint32_t kNoSlot = UINT32_MAX;
  // It begins with as much, and grows by no less.
  static constexpr uint64_t kGrowthBytesMin = uint64_t{1} << 20;

  SlotFile(std::unique_ptr<File> file, StoreId store_id, bool waits_for_rows);

  static absl::StatusOr<StateRecord> ReadState(File* file);
  absl::Status CheckDamage() const EXCLUDES_LOCK(mutex_);
  absl::Status StartBoot(const StateRecord& record, uint64_t boot_number_min);
  absl::Status GiveUpDamaged() EXCLUDES_LOCK(mutex_, write_mutex_);
  absl::Status Map(uint32_t slot_count);
  uint64_t AdoptSlots(uint64_t recorded_generation) EXCLUDES_LOCK(mutex_);

  absl::Status Grow(size_t count) EXCLUDES_LOCK(mutex_, grow_mutex_, sync_mutex_);
  absl::Status SyncTogether() EXCLUDES_LOCK(mutex_, sync_mutex_);
  absl::Status SyncOnce() EXCLUDES_LOCK(mutex_);
  absl::Status WriteRecord() REQUIRES_LOCK(record_mutex_);
  // The lowest generation that is reserved and neither written nor returned, or else the next one.
  uint64_t LowestReserved() const REQUIRES_LOCK(mutex_);
  void EndReservation(SlotRef ref) REQUIRES_LOCK(mutex_);
  void FreeErased() REQUIRES_LOCK(mutex_);
  // Neither free nor reserved nor erased: it serves, or served, a payload.
  bool IsInUse(uint32_t slot) const REQUIRES_LOCK(mutex_);
  // `slots` in order, each once.
  absl::Status WriteRuns(absl::Span<const uint32_t> slots, absl::Span<const SlotBytes> contents)
      REQUIRES_LOCK(write_mutex_);
  bool MayErase(SlotRef ref) const REQUIRES_LOCK(write_mutex_) EXCLUDES_LOCK(mutex_);
  absl::Status CheckUsable() const;
  // Passes `status` on; an error ends the use of this object.
  absl::Status Final(absl::Status status);

  SlotContent ReadSlot(uint32_t slot, SlotBytes* bytes) const EXCLUDES_LOCK(known_damaged_mutex_);
  // The same as it is at this moment: perhaps half written.
  SlotContent LookAtSlot(uint32_t slot, SlotBytes* bytes) const;
  void NoteDamaged(uint32_t slot) const EXCLUDES_LOCK(known_damaged_mutex_);
  bool IsKnownDamaged(uint32_t slot) const EXCLUDES_LOCK(known_damaged_mutex_);

  const std::unique_ptr<File> file_;
  const StoreId store_id_;
  const bool waits_for_rows_;
  uint64_t boot_number_ = 0;          // set before Open returns
  uint64_t recorded_generation_ = 0;  // set before Open returns

  // The mapping covers at least `capacity_` slots: it is replaced before the capacity is raised.
  std::atomic<const uint8_t*> mapping_{nullptr};
  std::atomic<uint32_t> capacity_{0};
  uint64_t mapped_bytes_ = 0;  // by whoever opens or grows

  std::atomic<bool> failed_{false};
  // Written since the last sync began. At first too: what a killed process left in the page cache
  // proves nothing.
  std::atomic<bool> dirty_{true};
  std::atomic<bool> record_dirty_{false};
  std::atomic<uint64_t> synced_sequence_{0};
  // What was written of lower generations is on the disk.
  std::atomic<uint64_t> synced_generation_{0};
  // Rows may be left whose slots the last crash took: what is synced from now on says nothing of
  // them, so the synced generation rests.
  std::atomic<bool> explains_lost_writes_{true};
  mutable std::atomic<uint64_t> alarms_{0};

  // Order: grow_mutex_ or write_mutex_, then record_mutex_ or mutex_. sync_mutex_ is never held with
  // another.
  Mutex grow_mutex_;
  // Held from looking at a slot to overwriting it, so that no late erasure hits a slot's successor.
  Mutex write_mutex_;

  mutable Mutex mutex_;
  SlotAllocator allocator_ GUARDED_BY(mutex_);
  absl::btree_map<uint64_t, Reservation> reservations_ GUARDED_BY(mutex_);  // by first generation
  // Erased and not free yet, in order. The first of them was erased as number `erased_begin_`.
  std::deque<uint32_t> erased_ GUARDED_BY(mutex_);
  uint64_t erased_begin_ GUARDED_BY(mutex_) = 0;
  uint64_t erasures_synced_ GUARDED_BY(mutex_) = 0;  // so many of all erasures
  uint64_t rows_synced_ GUARDED_BY(mutex_) = 0;      // the rows of so many
  // Erased before this boot, and their rows may have come back.
  std::vector<uint32_t> kept_ GUARDED_BY(mutex_);
  absl::flat_hash_set<uint32_t> damaged_ GUARDED_BY(mutex_);
  uint64_t next_counter_ GUARDED_BY(mutex_) = 1;
  SlotCounts counts_ GUARDED_BY(mutex_);

  // Slots that were found damaged after all attempts to read them: readers wait for them no more, or
  // a batch of damaged calls would hold up everybody. Held with no other mutex taken after it.
  mutable Mutex known_damaged_mutex_;
  mutable absl::flat_hash_set<uint32_t> known_damaged_ GUARDED_BY(known_damaged_mutex_);

  Mutex sync_mutex_;
  ConditionVariable sync_done_;
  uint64_t syncs_requested_ GUARDED_BY(sync_mutex_) = 0;
  uint64_t syncs_done_ GUARDED_BY(sync_mutex_) = 0;
  bool syncing_ GUARDED_BY(sync_mutex_) = false;

  Mutex record_mutex_;
  uint64_t record_counter_ GUARDED_BY(record_mutex_) = 0;
  // The rows of all slots of lower generations are synced.
  uint64_t rows_generation_ GUARDED_BY(record_mutex_) = 0;
  // Slots that the file has for certain, whatever happens.
  uint32_t synced_capacity_ GUARDED_BY(record_mutex_) = 0;
};

}  // namespace mayfly
