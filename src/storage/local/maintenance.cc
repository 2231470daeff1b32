// Physical clean-up: what was removed leaves the disk within a bound.
#include "base/bytes.h"
#include "storage/local/local_storage.h"
#include "storage/local/row_format.h"

namespace mayfly {
namespace {

// A payload lives for 24 h at most, and the id of its call may be as much older as the window
// around ids allows, which is minutes. Twice that and an hour: nothing of such a call is alive.
constexpr int64_t kEndedAgeMs = 49 * kHourMs + int64_t{10} * 60 * 1000;
// What is due this long ago was swept.
constexpr int64_t kSweptAgeMs = 2 * kHourMs;

// A compaction that does not fit on the disk is left to the next round.
bool IsDoneOrTooLarge(const rocksdb::Status& status) {
  return status.ok() || status.IsCompactionTooLarge();
}

}  // namespace

absl::Status LocalStorage::Maintain(int64_t now_ms) {
  RETURN_IF_ERROR(health_.Check());
  MutexLock lock(&maintain_mutex_);
  RETURN_IF_ERROR(database_->StopDamagedCompactions());
  RETURN_IF_ERROR(DropOldTombstones());
  const std::vector<Hour> hours = keyring_->Hours();
  if (!hours.empty()) segment_files_->RemoveHoursBefore(static_cast<uint32_t>(hours.front()));
  // Steady time may have been anchored anew, either way.
  if (now_ms >= flushed_ms_ && now_ms - flushed_ms_ < kFlushIntervalMs) return absl::OkStatus();
  flushed_ms_ = now_ms;
  RETURN_IF_ERROR(FlushAll());
  return CompactEnded(now_ms);
}

absl::Status LocalStorage::FlushAll() {
  // Together: the log is kept as long as one family has rows in it that no file holds.
  const rocksdb::Status status =
      (*database_)->Flush(rocksdb::FlushOptions(), database_->families());
  if (!status.ok()) return health_.Fail("flushing", status.ToString());
  return absl::OkStatus();
}

// RocksDB drops files past their TTL by itself, but at flushes only, and not when it takes their size
// for room that a compaction needs: a disk full of tombstones would stay full.
absl::Status LocalStorage::DropOldTombstones() {
  rocksdb::ColumnFamilyHandle* const family = database_->family(Family::kTombstones);
  rocksdb::ColumnFamilyMetaData files;
  (*database_)->GetColumnFamilyMetaData(family, &files);
  if (files.file_count == 0) return absl::OkStatus();
  int64_t now_s = 0;
  if (!(*database_)->GetEnv()->GetSystemClock()->GetCurrentTime(&now_s).ok()) {
    return absl::UnavailableError("the time is not known");
  }
  const auto ttl_s = static_cast<int64_t>((*database_)->GetOptions(family).ttl);
  const std::vector<rocksdb::SstFileMetaData>& newest_first = files.levels.front().files;
  for (auto file = newest_first.rbegin(); file != newest_first.rend(); ++file) {
    const auto oldest_s = static_cast<int64_t>(file->oldest_ancester_time);
    if (oldest_s == 0 || oldest_s >= now_s - ttl_s) break;
    const rocksdb::Status status = (*database_)->DeleteFile(file->name);
    // It was dropped by RocksDB just now.
    if (status.IsInvalidArgument()) break;
    if (!status.ok()) return FailedCompaction("dropping tombstones", status);
  }
  return absl::OkStatus();
}

absl::Status LocalStorage::CompactEnded(int64_t now_ms) {
  if (now_ms < kEndedAgeMs) return absl::OkStatus();
  // The bytes of an id begin with 48 bits of its time.
  std::string last_id;
  AppendBigEndian(&last_id, static_cast<uint64_t>(now_ms - kEndedAgeMs) << 16);
  const std::string last_due = EncodeSecond((now_ms - kSweptAgeMs) / 1000);

  rocksdb::CompactRangeOptions options;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
  const std::pair<Family, const std::string*> ranges[] = {
      {Family::kCalls, &last_id}, {Family::kSegments, &last_id}, {Family::kDeadlines, &last_due}};
  for (const auto& [family, last] : ranges) {
    const rocksdb::Slice end(*last);
    const rocksdb::Status status =
        (*database_)->CompactRange(options, database_->family(family), nullptr, &end);
    if (!IsDoneOrTooLarge(status)) RETURN_IF_ERROR(FailedCompaction("compacting", status));
  }
  return absl::OkStatus();
}

// Damage that it read has changed nothing: the family stays as it is.
absl::Status LocalStorage::FailedCompaction(absl::string_view operation,
                                            const rocksdb::Status& status) {
  if (!status.IsCorruption()) return health_.Fail(operation, status.ToString());
  health_.Alarm(operation, status.ToString());
  return absl::OkStatus();
}

}  // namespace mayfly
