// A MemoryDisk is the machine that a MemoryStorage runs on: what a killed process leaves behind, and
// what a loss of power does. It tells what is written from what is synced.
//
//   written              after a kill      after a loss of power
//   rows, in batches     all               those that were synced, and any prefix of the others
//   slots, each          as last written   as synced, or as it was at any moment since
//   record of syncs      as last written   as synced, or as it was at any moment since
//   key files, clock     all               all
//
// The dice are thrown by the disk's seed, so a run that asks for the same things in the same order is
// the same run. A crash ends the storage that is open: its calls fail with STORAGE_DOWN from then on
// and change nothing, and it may be destroyed later.
//
//   MemoryDisk disk(seed);
//   auto storage = MemoryStorage::Open({.disk = &disk, .root_key = ...});
//   disk.LosePower();
//   storage = MemoryStorage::Open(...);
//
// For tests: secrets lie in it in the clear. Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/slot_ref.h"
#include "keys/slot_format.h"
#include "storage/memory/memory_file_system.h"
#include "storage/memory/memory_rows.h"

namespace mayfly {

class MemoryDisk {
 public:
  explicit MemoryDisk(uint64_t seed) : random_(seed) {}
  MemoryDisk(const MemoryDisk&) = delete;
  MemoryDisk& operator=(const MemoryDisk&) = delete;

  // The process ends. Not after a sync that has failed: the page cache then shows what no later sync
  // ever brings to the disk.
  void Kill() EXCLUDES_LOCK(mutex_);
  // The machine ends.
  void LosePower() EXCLUDES_LOCK(mutex_);

  // Damage, which no crash explains. The call cannot be read any more; the row's due row is.
  void DamageRow(const CallKey& key, PayloadKind kind) EXCLUDES_LOCK(mutex_);
  void DamageTombstone(const CallKey& key) EXCLUDES_LOCK(mutex_);
  // The due row cannot be read any more; the payload's own row can.
  void DamageDueRow(const CallKey& key, PayloadKind kind) EXCLUDES_LOCK(mutex_);
  void DamageSlot(uint32_t slot) EXCLUDES_LOCK(mutex_);

  // The disk writes all slots by itself, as a disk may at any time.
  void SyncWrittenSlots() EXCLUDES_LOCK(mutex_);
  // Secrets that are there, or would be after some loss of power, although no row or upload names
  // them.
  std::vector<SlotRef> SecretsWithoutRow() EXCLUDES_LOCK(mutex_);
  // Whether a secret of the call, which has ended by its tombstone, is there, or would be after some
  // loss of power.
  bool HasSecretOfEnded(const CallKey& key) EXCLUDES_LOCK(mutex_);

 private:
  friend class MemoryStorage;
  friend class MemorySecrets;

  struct Slot {
    SlotContent::Kind kind = SlotContent::Kind::kUnused;
    uint64_t generation = 0;
    std::array<uint8_t, kSlotSecretBytes> secret{};
  };
  struct Record {
    uint64_t boot_number = 0;
    // Slots of lower generations were synced, and so were their rows.
    uint64_t synced_generation = 0;
  };
  // Something that is overwritten in place: what it was when it was synced last, and since then.
  template <typename T>
  struct Versions {
    std::deque<std::pair<uint64_t, T>> since = {{0, T()}};  // by number of the write, never empty

    const T& current() const { return since.back().second; }
    void Write(uint64_t number, T value) { since.emplace_back(number, std::move(value)); }
    void Sync(uint64_t number) {
      while (since.size() > 1 && since[1].first <= number) since.pop_front();
    }
    void LoseUnsynced(std::mt19937_64* random) {
      since = {{0, since[(*random)() % since.size()].second}};
    }
  };

  // ---- Rows

  void WriteRows(RowBatch batch) REQUIRES_LOCK(mutex_);
  uint64_t written_batches() const REQUIRES_LOCK(mutex_) {
    return synced_batches_ + unsynced_.size();
  }
  void SyncRows(uint64_t batch_count) REQUIRES_LOCK(mutex_);

  // ---- Slots

  const Slot& SlotAt(uint32_t slot) const REQUIRES_LOCK(mutex_);
  void WriteSlot(uint32_t slot, const Slot& content) REQUIRES_LOCK(mutex_);
  void WriteRecord(const Record& record) REQUIRES_LOCK(mutex_);
  uint64_t slot_writes() const REQUIRES_LOCK(mutex_) { return slot_writes_; }
  // All slots and the record as of the write of that number.
  void SyncSlots(uint64_t write_number) REQUIRES_LOCK(mutex_);

  bool Coin() REQUIRES_LOCK(mutex_) { return random_() % 2 == 0; }

  Mutex mutex_;
  std::mt19937_64 random_ GUARDED_BY(mutex_);
  uint64_t incarnation_ GUARDED_BY(mutex_) = 0;  // rises with every crash and every start

  MemoryRows rows_ GUARDED_BY(mutex_);         // as written
  MemoryRows synced_rows_ GUARDED_BY(mutex_);  // as synced
  std::deque<RowBatch> unsynced_ GUARDED_BY(mutex_);
  uint64_t synced_batches_ GUARDED_BY(mutex_) = 0;

  std::vector<Versions<Slot>> slots_ GUARDED_BY(mutex_);
  std::set<uint32_t> dirty_slots_ GUARDED_BY(mutex_);
  Versions<Record> record_ GUARDED_BY(mutex_);
  uint64_t slot_writes_ GUARDED_BY(mutex_) = 0;

  std::optional<std::string> time_record_ GUARDED_BY(mutex_);

  MemoryFileSystem files_;
};

}  // namespace mayfly
