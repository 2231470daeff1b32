#include "storage/room.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "base/error.h"
#include "base/human_bytes.h"

namespace mayfly {
namespace {

// A flush and the next measurement take about as long.
constexpr absl::Duration kRetryDelay = absl::Seconds(1);
// More than is flushed between two measurements. Without room for it no compaction would begin as long
// as flushes follow each other. It is set aside only where several times as much is left: on a disk
// that is nearly full puts are refused, and flushes end, soon enough.
constexpr uint64_t kFlushedBytes = uint64_t{256} << 20;
constexpr uint64_t kFlushedMargin = 4;

}  // namespace

RoomLease::~RoomLease() {
  if (budget_ != nullptr) budget_->GiveBack(bytes_);
}

RoomLease RoomBudget::Reserve(uint64_t bytes) {
  if (!is_full()) {
    held_.fetch_add(bytes, std::memory_order_acq_rel);
    const int64_t spare = SpareBytes();
    if (spare >= 0) return RoomLease(this, bytes);
    held_.fetch_sub(bytes, std::memory_order_acq_rel);
    if (spare + static_cast<int64_t>(bytes) < static_cast<int64_t>(limits_.low_bytes)) {
      is_full_.store(true, std::memory_order_relaxed);
    }
  }
  refused_.store(true, std::memory_order_relaxed);
  return RoomLease();
}

RoomLease RoomBudget::Claim(uint64_t bytes) {
  held_.fetch_add(bytes, std::memory_order_acq_rel);
  return RoomLease(this, bytes);
}

// First into the sum of what was given back: in between it counts twice, never not at all.
void RoomBudget::GiveBack(uint64_t bytes) {
  given_back_.fetch_add(bytes, std::memory_order_acq_rel);
  held_.fetch_sub(bytes, std::memory_order_acq_rel);
}

uint64_t RoomBudget::promised_bytes() const {
  const uint64_t held = held_.load(std::memory_order_acquire);
  const uint64_t mark = given_back_mark_.load(std::memory_order_acquire);
  return held + given_back_.load(std::memory_order_acquire) - mark;
}

int64_t RoomBudget::SpareBytes() const {
  return measured_.load(std::memory_order_acquire) - static_cast<int64_t>(promised_bytes());
}

uint64_t RoomBudget::Update(uint64_t mark, const RoomUse& use) {
  // A reserve may be as large as the type, so what is needed is capped before it becomes signed.
  constexpr uint64_t kBytesMax = uint64_t{1} << 61;
  const uint64_t compactions = std::max(use.compaction_bytes, use.running_bytes);
  const uint64_t needed = limits_.fixed_bytes + FlushBytes(use.memtable_bytes) + compactions +
                          use.live_payloads * kEndBytes + use.missing_ballast_bytes +
                          std::min(limits_.reserve_bytes, kBytesMax);
  const auto free = static_cast<int64_t>(std::min(use.free_bytes, kBytesMax));
  const int64_t spare_measured = free - static_cast<int64_t>(needed);
  free_.store(free, std::memory_order_relaxed);
  measured_.store(spare_measured, std::memory_order_release);
  given_back_mark_.store(mark, std::memory_order_release);

  const int64_t spare = SpareBytes();
  const bool is_short = spare < static_cast<int64_t>(limits_.low_bytes);
  is_behind_.store(use.compaction_is_behind && !is_short, std::memory_order_relaxed);
  if (is_short || use.compaction_is_behind) {
    is_full_.store(true, std::memory_order_relaxed);
  } else if (spare >= static_cast<int64_t>(limits_.resume_bytes)) {
    is_full_.store(false, std::memory_order_relaxed);
  }
  const auto usable = static_cast<uint64_t>(std::max<int64_t>(spare, 0));
  uint64_t share = std::min(usable / 2, use.mergeable_bytes);
  // RocksDB compares its bound with all files there are, those that are flushed meanwhile included.
  const uint64_t left = usable - share;
  share += std::min(kFlushedBytes, left - std::min(left, kFlushedMargin * kFlushedBytes));
  measured_.fetch_sub(static_cast<int64_t>(share), std::memory_order_acq_rel);
  // Where more is needed than is free, room comes first from what is kept for others and for ends.
  const uint64_t written_anyway =
      limits_.fixed_bytes + FlushBytes(use.memtable_bytes) + promised_bytes();
  const uint64_t free_for_them = use.free_bytes - std::min(use.free_bytes, written_anyway);
  return std::min(compactions + share, free_for_them);
}

absl::Status RoomBudget::Refusal(uint64_t bytes) const {
  if (is_behind_.load(std::memory_order_relaxed)) {
    return WithRetryDelay(
        MakeError(absl::StatusCode::kResourceExhausted, Reason::kOverloaded,
                  "the disk is slower than what is put: too many files wait for compaction"),
        kRetryDelay);
  }
  const auto free = static_cast<int64_t>(free_.load(std::memory_order_relaxed));
  const int64_t kept = std::max<int64_t>(free - SpareBytes(), 0);
  const int64_t wanted = is_full() ? std::max(bytes, limits_.resume_bytes) : bytes;
  return WithRetryDelay(
      MakeError(absl::StatusCode::kResourceExhausted, Reason::kDiskFull,
                absl::StrCat("free disk space is ", HumanBytes(static_cast<uint64_t>(free)),
                             ", needed are ", HumanBytes(static_cast<uint64_t>(kept + wanted)),
                             ": ", HumanBytes(static_cast<uint64_t>(wanted)), " for the put, ",
                             HumanBytes(static_cast<uint64_t>(kept)),
                             " for acks, expiry and compaction, with storage.disk_reserve_bytes, ",
                             HumanBytes(limits_.reserve_bytes),
                             ": the server's operator has to free space on its disk")),
      kRetryDelay);
}

}  // namespace mayfly
