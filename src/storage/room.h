// Room on the disk, promised to puts before any work is done for them.
//
// A put that was admitted is written to the log at once, to a table file later, and perhaps once
// more by a compaction; the segments of a large one are written once. RoomBudget compares all that
// this may take with the free bytes: those that were measured last, less those promised since. So a
// thousand puts that arrive between two measurements count as much as one.
//
//   spare = free - reserve                     storage.disk_reserve_bytes, for other programs
//                - fixed                       slot file, manifest, records, the file system's own
//                - memtables x 17/16           a flush, or the recovery after a crash
//                - compaction                  the largest one that may have to run, or those that do
//                - payloads x kEndBytes        rows that end what is stored now
//                - missing ballast             see local/ballast.h
//                - promised                    admitted since, or not written yet
//
// Half of the spare room may be taken by compactions that start before the next measurement; they
// are told how much (Update), with an allowance for files that are flushed meanwhile. Puts get the
// other half at once and the rest when it is measured again.
//
// Below `low_bytes` of spare room puts are refused whatever their size, until there are
// `resume_bytes` again: at the brim they would else be taken and refused in turns. A put that is
// only too large for what is left is refused alone.
//
// Thread-safe. Taking and giving back are a few atomic additions.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"

namespace mayfly {

class RoomBudget;

// Room that a put holds from its admission until it is written and answered, or refused. An empty
// lease holds nothing: there was no room.
class RoomLease {
 public:
  RoomLease() = default;
  RoomLease(RoomBudget* budget, uint64_t bytes) : budget_(budget), bytes_(bytes) {}
  RoomLease(RoomLease&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)), bytes_(other.bytes_) {}
  RoomLease& operator=(RoomLease&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~RoomLease();

  bool empty() const { return budget_ == nullptr; }

 private:
  RoomBudget* budget_ = nullptr;
  uint64_t bytes_ = 0;
};

struct RoomLimits {
  uint64_t reserve_bytes = 0;
  uint64_t fixed_bytes = 0;
  uint64_t low_bytes = 0;
  uint64_t resume_bytes = 0;
};

// What is measured.
struct RoomUse {
  uint64_t free_bytes = 0;
  uint64_t memtable_bytes = 0;    // not in table files yet
  uint64_t compaction_bytes = 0;  // inputs of the largest compaction that may have to run
  uint64_t running_bytes = 0;     // inputs of those that run, all together
  uint64_t mergeable_bytes = 0;   // what compactions could take at all
  uint64_t live_payloads = 0;
  uint64_t missing_ballast_bytes = 0;
  bool compaction_is_behind = false;  // too many files wait for it: puts are refused
};

class RoomBudget {
 public:
  // What the end of a payload writes to log and tables, tombstone included, before a compaction has
  // taken anything out again. An upper bound of 4 x 100 bytes.
  static constexpr uint64_t kEndBytes = 512;
  // Keys, header, due row and their framing, of one payload or segment.
  static constexpr uint64_t kRowBytes = 512;

  // What storing `bytes` of payload and metadata in a row takes: log, table file, compaction, end.
  static constexpr uint64_t CostOfRow(uint64_t bytes) {
    return 3 * (WithTags(bytes) + kRowBytes) + kEndBytes;
  }
  // The room of a segment: its ciphertext is written once, in whole blocks, and its row is as any.
  static constexpr uint64_t CostOfSegment(uint64_t bytes) {
    return bytes + bytes / kSegmentTagShare + kSegmentBlockBytes + 3 * kRowBytes + kEndBytes;
  }

  explicit RoomBudget(const RoomLimits& limits) : limits_(limits) {}

  // An empty lease when there is no room.
  RoomLease Reserve(uint64_t bytes);
  // Whether there is room or not.
  RoomLease Claim(uint64_t bytes);
  // RESOURCE_EXHAUSTED with a retry delay: DISK_FULL, naming what is free and what is needed, or
  // OVERLOADED when there is room but too many files wait for compaction.
  absl::Status Refusal(uint64_t bytes) const;

  // The measuring thread's. A measurement says nothing of what is written while it goes on, so it
  // begins with a mark.
  uint64_t Mark() const { return given_back_.load(std::memory_order_acquire); }
  // Returns how much compactions may take, those that run included.
  uint64_t Update(uint64_t mark, const RoomUse& use);
  // What puts may have. Signed: below zero when more is needed than is free.
  int64_t SpareBytes() const;
  // Held by leases, or written since the last measurement.
  uint64_t promised_bytes() const;
  bool is_full() const { return is_full_.load(std::memory_order_relaxed); }
  // Whether a put was refused since this was asked last.
  bool TakeRefused() { return refused_.exchange(false, std::memory_order_relaxed); }
  // What a flush takes.
  static uint64_t FlushBytes(uint64_t memtable_bytes) {
    return memtable_bytes + memtable_bytes / 16;
  }

 private:
  friend class RoomLease;

  // A tag for every 16 KiB of ciphertext, and what the file system notes of the file.
  static constexpr uint64_t kSegmentTagShare = 256;
  // The last block is not full.
  static constexpr uint64_t kSegmentBlockBytes = 4096;

  // A tag for every 16 KiB of ciphertext, block indexes and filters: less than a sixteenth.
  static constexpr uint64_t WithTags(uint64_t bytes) { return bytes + bytes / 16; }

  void GiveBack(uint64_t bytes);

  const RoomLimits limits_;
  // As last measured, without what is promised; free, and needed for what is stored.
  std::atomic<int64_t> measured_{0};
  std::atomic<uint64_t> free_{0};
  std::atomic<bool> is_full_{false};
  std::atomic<bool> is_behind_{false};  // compaction is, and there is room
  mutable std::atomic<bool> refused_{false};
  std::atomic<uint64_t> held_{0};             // by leases
  std::atomic<uint64_t> given_back_{0};       // by leases that ended, in all
  std::atomic<uint64_t> given_back_mark_{0};  // of these, before the last measurement
};

}  // namespace mayfly
