#include "storage/local/disk_room.h"

#include <algorithm>
#include <filesystem>
#include <pthread.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rocksdb/sst_file_manager.h"
#include <sys/statvfs.h>

#include "base/human_bytes.h"
#include "storage/segments.h"

namespace mayfly {
namespace {

constexpr absl::Duration kMeasurePause = absl::Milliseconds(200);
constexpr absl::Duration kReclaimPauseMin = absl::Seconds(1);
constexpr int kReclaimPauseFactor = 4;
constexpr absl::Duration kFamiliesPauseMin = absl::Seconds(1);
constexpr int kFamiliesPauseFactor = 50;
// A file system that cannot allocate is not asked all the time.
constexpr absl::Duration kBallastPause = absl::Seconds(10);
constexpr uint64_t kMebibyte = 1 << 20;

// Families that are merged level by level and may be large.
constexpr Family kMergedFamilies[] = {Family::kCalls, Family::kSegments, Family::kDeadlines};
// Beyond it reads get slow. RocksDB would stop all writes, acks included.
constexpr uint64_t kLevel0FilesMax = 48;
// The file of slots grows by an eighth, within these (keys/slot_file.cc).
constexpr uint64_t kSlotGrowthBytesMax = 16 * kMebibyte;

}  // namespace

uint64_t DiskBytes(const std::string& directory) {
  struct statvfs info {};
  if (statvfs(directory.c_str(), &info) != 0) return 0;
  return uint64_t{info.f_blocks} * info.f_frsize;
}

uint64_t FreeDiskBytes(const std::string& directory) {
  struct statvfs info {};
  if (statvfs(directory.c_str(), &info) != 0) return 0;
  // Blocks that are set aside for the superuser are no use to others.
  const uint64_t blocks = geteuid() == 0 ? info.f_bfree : info.f_bavail;
  return blocks * info.f_frsize;
}

uint64_t LogBytes(const std::string& database_directory) {
  uint64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(database_directory, error)) {
    if (entry.path().extension() != ".log") continue;
    std::error_code gone;
    const uintmax_t size = entry.file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

DiskRoom::DiskRoom(Context context, Ballast ballast)
    : context_(std::move(context)), budget_(context_.plan.limits), ballast_(std::move(ballast)) {
  Measure();
}

DiskRoom::~DiskRoom() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  stop_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

void DiskRoom::StartThread() {
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "disk-room");
}

void DiskRoom::Run() {
  absl::Time reclaim_after = absl::InfinitePast();
  while (true) {
    {
      MutexLock lock(&mutex_);
      if (!stopping_) stop_.WaitFor(&mutex_, kMeasurePause);
      if (stopping_) return;
    }
    if (!context_.health->Check().ok()) return;
    Measure();
    const bool is_short = budget_.TakeRefused() || budget_.is_full();
    if (!is_short || absl::Now() < reclaim_after) continue;
    const absl::Duration pause = Reclaim();
    reclaim_after = absl::Now() + pause;
  }
}

// ---- Measuring

// The order matters. What is flushed or deleted between two of these readings then counts twice as
// needed, never twice as free.
void DiskRoom::Measure() {
  MutexLock lock(&measure_mutex_);
  const uint64_t mark = budget_.Mark();
  MeasureFamilies(mark);
  RoomUse use = families_;
  // Written since the families were measured: it may be in level 0 by now. A third of its cost is for
  // that (RoomBudget::CostOfRow).
  use.compaction_bytes += (mark - families_mark_) / 3;
  use.memtable_bytes = MemtableBytes();
  use.running_bytes = context_.database->RunningCompactionBytes();
  use.live_payloads = context_.slots->Counts().live;
  use.free_bytes = FreeDiskBytes(context_.database_directory);
  const uint64_t slot_growth = SlotGrowthBytes();
  use.free_bytes -= std::min(use.free_bytes, slot_growth);
  MaintainBallast(use);
  use.missing_ballast_bytes = ballast_.missing_bytes();
  LimitCompactions(budget_.Update(mark, use));
  LogChange();
}

void DiskRoom::MeasureFamilies(uint64_t mark) {
  const absl::Time begun = absl::Now();
  if (begun < measure_families_after_) return;
  families_ = RoomUse{};
  families_mark_ = mark;
  for (const Family family : kMergedFamilies) {
    const FamilyState state = StateOf(family);
    families_.compaction_is_behind |= state.level0_files > kLevel0FilesMax;
    families_.compaction_bytes = std::max(families_.compaction_bytes, state.compaction_bytes);
    families_.mergeable_bytes += state.table_bytes;
  }
  const absl::Time ended = absl::Now();
  measure_families_after_ =
      ended + std::max(kFamiliesPauseMin, kFamiliesPauseFactor * (ended - begun));
}

uint64_t DiskRoom::MemtableBytes() const {
  uint64_t bytes = 0;
  (*context_.database)
      ->GetAggregatedIntProperty(rocksdb::DB::Properties::kCurSizeAllMemTables, &bytes);
  return bytes;
}

uint64_t DiskRoom::SlotGrowthBytes() const {
  return std::clamp(uint64_t{context_.slots->capacity()} * kSlotBytes / 8, kMebibyte,
                    kSlotGrowthBytesMax);
}

DiskRoom::FamilyState DiskRoom::StateOf(Family family) const {
  rocksdb::DB* const database = context_.database->operator->();
  rocksdb::ColumnFamilyHandle* const handle = context_.database->family(family);
  rocksdb::ColumnFamilyMetaData files;
  database->GetColumnFamilyMetaData(handle, &files);
  uint64_t memtable_bytes = 0;
  database->GetIntProperty(handle, rocksdb::DB::Properties::kCurSizeAllMemTables, &memtable_bytes);

  FamilyState state;
  uint64_t base_level_bytes = 0;
  for (const rocksdb::LevelMetaData& level : files.levels) {
    if (level.level > 0 && base_level_bytes == 0) base_level_bytes = level.size;
  }
  const uint64_t level0_bytes = files.levels.empty() ? 0 : files.levels.front().size;
  state.level0_files = files.levels.empty() ? 0 : files.levels.front().files.size();
  const uint64_t new_bytes = level0_bytes + memtable_bytes;
  state.table_bytes = files.size + memtable_bytes;
  // A base level that is larger than this is left as it is, and one above it is begun.
  const uint64_t base_bytes =
      std::min(base_level_bytes, std::max(new_bytes, BaseLevelBytes(context_.plan.memtable_bytes)));
  state.compaction_bytes =
      std::min(files.size + memtable_bytes,
               std::max(new_bytes + base_bytes, CompactionBytesMax(context_.plan.memtable_bytes)));
  return state;
}

void DiskRoom::LimitCompactions(uint64_t bytes) {
  rocksdb::SstFileManager* const files = context_.database->file_manager();
  files->SetMaxAllowedSpaceUsage(Database::kCompactionMarginBytes + files->GetTotalSize() + bytes);
}

void DiskRoom::MaintainBallast(const RoomUse& use) {
  const uint64_t flush = RoomBudget::FlushBytes(use.memtable_bytes);
  if (use.free_bytes < flush + context_.plan.limits.fixed_bytes / 2) {
    if (ballast_.missing_bytes() == 0) {
      context_.health->Log(
          StorageLogLevel::kError,
          absl::StrCat("the disk is full, ", HumanBytes(use.free_bytes),
                       " are free: the ballast is given up so that acks and "
                       "expiry can go on; when that is used up too the process "
                       "ends, so free some space on the disk of storage.data_dir"));
    }
    ballast_.Release();
    return;
  }
  const uint64_t missing = ballast_.missing_bytes();
  if (missing > 0 && absl::Now() >= make_ballast_after_ &&
      use.free_bytes >= flush + context_.plan.limits.fixed_bytes + 2 * missing) {
    make_ballast_after_ = absl::Now() + kBallastPause;
    ballast_.Make();
  }
}

void DiskRoom::LogChange() {
  const bool is_full = budget_.is_full();
  if (is_full == was_full_) return;
  was_full_ = is_full;
  context_.health->Log(StorageLogLevel::kWarning,
                       is_full ? absl::StrCat("puts are refused: ", budget_.Refusal(0).message())
                               : std::string("puts are taken again: there is room on the disk"));
}

void DiskRoom::MeasureAll() {
  {
    MutexLock lock(&measure_mutex_);
    measure_families_after_ = absl::InfinitePast();
  }
  Measure();
}

// ---- Reclaiming

// RocksDB expects a compaction to write all that it reads. When most has been removed, files that are
// too large for that would stay for ever.
bool DiskRoom::LeavesLittle(const FamilyState& state) const {
  const uint64_t row_bytes_max = RoomBudget::FlushBytes(kInlineBytesMax) + RoomBudget::kRowBytes;
  const uint64_t written = context_.slots->Counts().live * row_bytes_max +
                           RoomBudget::FlushBytes(MemtableBytes()) +
                           context_.plan.limits.fixed_bytes;
  return written < state.table_bytes && written <= FreeDiskBytes(context_.database_directory);
}

absl::Duration DiskRoom::Reclaim() {
  const absl::Time begun = absl::Now();
  if (rows_.in_memory >= context_.plan.gain_bytes_min ||
      LogBytes(context_.database_directory) >= context_.plan.log_bytes_short) {
    Flush();
  }
  CompactIfWorthwhile();
  return std::max(kReclaimPauseMin, kReclaimPauseFactor * (absl::Now() - begun));
}

void DiskRoom::Flush() {
  rows_.in_files += rows_.in_memory.exchange(0);
  // A failure is the storage's, and ends the process.
  if (context_.flush().ok()) MeasureAll();
}

void DiskRoom::CompactIfWorthwhile() {
  const FamilyState state = StateOf(Family::kCalls);
  if (rows_.in_files < std::max(context_.plan.gain_bytes_min, state.table_bytes / 16)) return;
  if (LeavesLittle(state)) LimitCompactions(state.table_bytes);
  rocksdb::CompactRangeOptions options;
  // RocksDB's own go on meanwhile.
  options.exclusive_manual_compaction = false;
  const rocksdb::Status status =
      (*context_.database)
          ->CompactRange(options, context_.database->family(Family::kCalls), nullptr, nullptr);
  if (status.ok()) {
    rows_.in_files = 0;
  } else if (status.IsCorruption()) {
    // Damage that it read has changed nothing. It would be met again at once.
    context_.health->Alarm("compacting", status.ToString());
    rows_.in_files = 0;
  } else if (!status.IsCompactionTooLarge() && !status.IsIncomplete()) {
    (void)context_.health->Fail("compacting", status.ToString());
  }
  // What did not fit now is tried again.
  MeasureAll();
}

}  // namespace mayfly
