#include "storage/local/disk_plan.h"

#include <algorithm>

namespace mayfly {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kMemtablesPerDisk = 32;
constexpr uint64_t kMemtableBytesMin = kMiB;

// The manifest and its successor (column_families.cc bounds it), RocksDB's options, keyring, the
// records of the clock and of the database's files, and the blocks that name other blocks.
constexpr uint64_t kRecordsBytes = 12 * kMiB;
constexpr uint64_t kMetadataPerDisk = 512;
// The slot file and its next step, the first log, the manifest and RocksDB's other files.
constexpr uint64_t kNewFilesBytes = 4 * kMiB;
// Of an empty disk, for what the file system itself takes: an ext4 of 100 MB takes a tenth.
constexpr uint64_t kFileSystemShare = 8;
// What is needed grows by less than a twentieth of the disk, so this many rounds are enough.
constexpr int kDiskRounds = 20;

}  // namespace

DiskPlan PlanFor(const DiskSettings& settings) {
  const uint64_t disk = settings.disk_bytes;
  DiskPlan plan;
  plan.memtable_bytes =
      std::min(settings.memtable_bytes, std::max(disk / kMemtablesPerDisk, kMemtableBytesMin));
  plan.ballast_bytes = plan.memtable_bytes + 2 * kMiB;
  plan.limits.reserve_bytes = settings.reserve_bytes;
  plan.limits.fixed_bytes = kRecordsBytes + disk / kMetadataPerDisk;
  plan.limits.low_bytes = std::clamp(plan.memtable_bytes / 8, kMiB / 4, 16 * kMiB);
  plan.limits.resume_bytes = 2 * plan.limits.low_bytes;
  plan.log_bytes_short = std::max(plan.memtable_bytes / 4, kMiB);
  plan.gain_bytes_min = std::clamp(disk / 128, kMiB, 1024 * kMiB);
  return plan;
}

// As RoomBudget::Update counts it when nothing is stored.
uint64_t NewStoreBytes(const DiskPlan& plan) {
  const uint64_t own =
      plan.limits.fixed_bytes + plan.ballast_bytes + plan.limits.resume_bytes + kNewFilesBytes;
  return own + std::min(plan.limits.reserve_bytes, UINT64_MAX - own);
}

uint64_t SmallestDiskBytes(DiskSettings settings) {
  settings.disk_bytes = 0;
  for (int round = 0; round < kDiskRounds; ++round) {
    const uint64_t needed = NewStoreBytes(PlanFor(settings));
    if (needed > UINT64_MAX / 2) return needed;
    settings.disk_bytes = needed + needed / (kFileSystemShare - 1) + 1;
  }
  return settings.disk_bytes;
}

}  // namespace mayfly
