// The SlotFile keeps one 20-byte secret per stored payload, and decides life and death: a row whose
// slot does not hold its generation is dead, whatever else was recovered.
//
// Life of a slot:  Reserve -> Write -> Sync -> ... -> Erase -> Sync -> free
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
// Every failed write or sync is final: what the disk holds is unknown, all later calls fail with
// UNAVAILABLE, and the process must end and open the file again. Only a Reserve that could not
// extend the file may be tried again.
//
// Thread-safe. Reserve and Return cost O(1) per slot and no I/O, except when the file grows (by
// written, synced zeros, 16 MiB at most). StateOf and ReadSecret read a mapping and take no lock.
// Writing and erasing cost one pwrite per run of neighbours; simultaneous Syncs share one
// fdatasync. Memory: a quarter of a byte per slot, beside the mapping.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

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
  kNeverStored,  // anything else: the payload's write was lost, or the slot serves another by now
};

// capacity = free + reserved + live + unsynced + damaged.
struct SlotCounts {
  uint64_t capacity = 0;
  uint64_t free = 0;
  uint64_t reserved = 0;
  uint64_t live = 0;
  uint64_t unsynced = 0;  // erased, waiting for a Sync
  uint64_t damaged = 0;   // bad checksum when the file was opened; kept until erased
};

class SlotFile {
 public:
  static bool Exists(FileSystem* file_system, const std::string& directory);

  // Makes a file with a new store id, durable before it returns, and opens it. ALREADY_EXISTS when
  // there is one.
  static absl::StatusOr<std::unique_ptr<SlotFile>> Create(FileSystem* file_system,
                                                          const std::string& directory);
  // NOT_FOUND when there is no file, DATA_LOSS when its header is damaged. Reads it all once.
  static absl::StatusOr<std::unique_ptr<SlotFile>> Open(FileSystem* file_system,
                                                        const std::string& directory);

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
  // Returns when all that was written and erased before the call is on the disk, and with it
  // `synced_sequence` if that is higher than before. Leaves the disk alone when there is neither.
  absl::Status Sync(uint64_t synced_sequence) EXCLUDES_LOCK(mutex_, sync_mutex_);
  // Whether the next Sync has something to do. A sync that is under way does not count.
  bool is_dirty() const { return dirty_.load(std::memory_order_acquire); }
  // Lowers the sequence, durably, when the operator has accepted a data loss. Between Open and the
  // first Sync only.
  absl::Status ResetSyncedSequence(uint64_t synced_sequence);

  // A slot beyond the end or with a bad checksum is kNeverStored and counts in alarms().
  SlotState StateOf(SlotRef ref) const;
  // NOT_FOUND unless the slot is live with that generation.
  absl::StatusOr<SecretBytes> ReadSecret(SlotRef ref) const;

  // For scrubbing: every generation below it has been reserved by now.
  uint64_t NextGeneration() const EXCLUDES_LOCK(mutex_);
  // Slots that are written, not erased and of a generation below `generation`, among
  // `slot_count` slots from `first_slot` on. Walk from 0 to capacity() in bounded steps.
  std::vector<SlotRef> LiveSlotsBelow(uint64_t generation, uint32_t first_slot,
                                      uint32_t slot_count) const;
  uint32_t capacity() const { return capacity_.load(std::memory_order_acquire); }
  SlotCounts Counts() const EXCLUDES_LOCK(mutex_);
  // Reads that met a slot beyond the end or with a bad checksum, opening included.
  uint64_t alarms() const { return alarms_.load(std::memory_order_relaxed); }

 private:
  SlotFile(std::unique_ptr<File> file, StoreId store_id);

  static absl::StatusOr<StateRecord> ReadState(File* file);
  absl::Status StartBoot(StateRecord record, uint64_t boot_number_min);
  absl::Status Map(uint32_t slot_count);
  uint64_t AdoptSlots() EXCLUDES_LOCK(mutex_);

  absl::Status Grow(size_t count) EXCLUDES_LOCK(mutex_, grow_mutex_, sync_mutex_);
  absl::Status SyncTogether(uint64_t synced_sequence) EXCLUDES_LOCK(mutex_, sync_mutex_);
  absl::Status SyncOnce(uint64_t synced_sequence) EXCLUDES_LOCK(mutex_);
  absl::Status WriteRecord(uint64_t synced_sequence);
  // `slots` in order, each once.
  absl::Status WriteRuns(absl::Span<const uint32_t> slots, absl::Span<const SlotBytes> contents)
      REQUIRES_LOCK(write_mutex_);
  bool MayErase(SlotRef ref) const REQUIRES_LOCK(write_mutex_) EXCLUDES_LOCK(mutex_);
  absl::Status CheckUsable() const;
  // Passes `status` on; an error ends the use of this object.
  absl::Status Final(absl::Status status);

  SlotContent ReadSlot(uint32_t slot, SlotBytes* bytes) const;

  const std::unique_ptr<File> file_;
  const StoreId store_id_;
  uint64_t boot_number_ = 0;  // set before Open returns

  // The mapping covers at least `capacity_` slots: it is replaced before the capacity is raised.
  std::atomic<const uint8_t*> mapping_{nullptr};
  std::atomic<uint32_t> capacity_{0};
  uint64_t mapped_bytes_ = 0;  // by whoever opens or grows

  std::atomic<bool> failed_{false};
  // Written since the last sync began. At first too: what a killed process left in the page cache
  // proves nothing.
  std::atomic<bool> dirty_{true};
  std::atomic<uint64_t> synced_sequence_{0};
  mutable std::atomic<uint64_t> alarms_{0};

  // Order: grow_mutex_ or write_mutex_, then mutex_. sync_mutex_ is never held with another.
  Mutex grow_mutex_;
  // Held from looking at a slot to overwriting it, so that no late erasure hits a slot's successor.
  Mutex write_mutex_;

  mutable Mutex mutex_;
  SlotAllocator allocator_ GUARDED_BY(mutex_);
  std::vector<uint32_t> unsynced_ GUARDED_BY(mutex_);  // erased since the last sync began
  absl::flat_hash_set<uint32_t> damaged_ GUARDED_BY(mutex_);
  uint64_t next_counter_ GUARDED_BY(mutex_) = 1;
  SlotCounts counts_ GUARDED_BY(mutex_);

  Mutex sync_mutex_;
  ConditionVariable sync_done_;
  uint64_t syncs_requested_ GUARDED_BY(sync_mutex_) = 0;
  uint64_t syncs_done_ GUARDED_BY(sync_mutex_) = 0;
  uint64_t sequence_requested_ GUARDED_BY(sync_mutex_) = 0;
  bool syncing_ GUARDED_BY(sync_mutex_) = false;
  uint64_t record_counter_ = 0;  // by whoever syncs
};

}  // namespace mayfly
