// MemorySecrets is what keys/slot_file.h is to local storage: it gives out slots and generations,
// keeps one secret per stored payload, and decides life and death. Its words are explained there.
//
// A process has one, made anew from the disk by each start. Every function needs the disk's mutex.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "keys/slot_file.h"
#include "storage/memory/memory_disk.h"

namespace mayfly {

class MemorySecrets {
 public:
  // Raises the boot number in the record, which the caller syncs before it serves anything.
  explicit MemorySecrets(MemoryDisk* disk);

  uint64_t boot_number() const { return boot_number_; }

  // Neighbours, lowest first: what was erased is soon reused.
  std::vector<SlotLease> Reserve(size_t count);
  void Return(absl::Span<const SlotRef> refs);
  void Write(const SlotWrite& write);
  void Erase(SlotRef ref);

  SlotState StateOf(SlotRef ref) const;
  absl::StatusOr<SecretBytes> ReadSecret(SlotRef ref) const;

  // How far a sync reaches that begins now.
  struct SyncMark {
    uint64_t slot_writes = 0;
    uint64_t generation = 0;
  };
  SyncMark MarkSync() const;
  void OnSynced(const SyncMark& mark);
  // The rows of the slots erased by then are gone for good.
  void RowsSynced(uint64_t slot_writes);
  // The rows of all slots of lower generations are synced. True when that is news, and was written.
  bool RecordRows(uint64_t generation);
  bool record_is_dirty() const;
  // A slot was written or erased since the last sync began.
  bool is_dirty() const;

  // Every slot of a lower generation was written or returned.
  uint64_t WrittenGeneration() const;
  uint64_t NextGeneration() const { return FirstGeneration() | next_counter_; }
  uint64_t FirstGeneration() const { return boot_number_ << kGenerationCounterBits; }
  uint64_t recorded_generation() const { return recorded_generation_; }
  std::vector<SlotRef> LiveSlotsBelow(uint64_t generation) const;
  // Keeps a damaged slot from being given to others until it is erased.
  void Quarantine(SlotRef ref);
  // See SlotFile.
  void OrphansRemoved(bool all);

 private:
  void FreeErased();

  MemoryDisk& disk_;
  const uint64_t boot_number_;
  const uint64_t recorded_generation_;
  uint64_t next_counter_ = 1;
  uint64_t synced_generation_;
  uint64_t rows_generation_;
  bool explains_lost_writes_;

  uint32_t capacity_;
  std::set<uint32_t> free_;
  std::map<uint64_t, uint32_t> reserved_;     // by generation
  std::multimap<uint64_t, uint32_t> erased_;  // by write; free when that and the rows are synced
  std::set<uint32_t> kept_;                   // erased before this boot, and their rows may be back
  std::set<uint32_t> damaged_;
  uint64_t last_write_ = 0;  // of a slot, or of the boot number
  uint64_t synced_writes_ = 0;
  uint64_t rows_synced_writes_ = 0;
  uint64_t record_write_ = 0;
};

}  // namespace mayfly
