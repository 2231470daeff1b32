#include "storage/local/disk_advice.h"

#include <errno.h>
#include <filesystem>
#include <string.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/human_bytes.h"
#include "storage/local/disk_room.h"

namespace mayfly {

absl::Status CheckRoomForNewStore(const std::string& data_dir, DiskSettings settings) {
  std::error_code error;
  const std::string place = std::filesystem::exists(data_dir, error)
                                ? data_dir
                                : std::filesystem::absolute(data_dir).parent_path().string();
  const uint64_t disk_bytes = DiskBytes(place);
  if (disk_bytes == 0) return absl::OkStatus();
  if (settings.disk_bytes == 0) settings.disk_bytes = disk_bytes;
  const uint64_t needed_bytes = NewStoreBytes(PlanFor(settings));
  const uint64_t free_bytes = FreeDiskBytes(place);
  if (free_bytes >= needed_bytes) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the disk of storage.data_dir ", data_dir, " has ", HumanBytes(free_bytes), " of ",
      HumanBytes(disk_bytes), " free, a new store needs ", HumanBytes(needed_bytes),
      " before it takes the first put, with storage.disk_reserve_bytes, ",
      HumanBytes(settings.reserve_bytes), ": free that much, choose a disk of at least ",
      HumanBytes(SmallestDiskBytes(settings)), ", or lower storage.disk_reserve_bytes"));
}

bool SpeaksOfFullDisk(absl::string_view text) {
  return absl::StrContains(text, strerrordesc_np(ENOSPC)) ||
         absl::StrContains(text, strerrordesc_np(EDQUOT));
}

std::string FullDiskAdvice(const std::string& data_dir, DiskSettings settings) {
  if (settings.disk_bytes == 0) settings.disk_bytes = DiskBytes(data_dir);
  // The next start writes the logs into table files, and makes the ballast anew when it can.
  const DiskPlan plan = PlanFor(settings);
  const uint64_t needed_bytes =
      RoomBudget::FlushBytes(LogBytes(data_dir + "/db")) + plan.limits.fixed_bytes;
  return absl::StrCat(
      "the disk of storage.data_dir ", data_dir, " is full, ", HumanBytes(FreeDiskBytes(data_dir)),
      " of ", HumanBytes(DiskBytes(data_dir)), " are free: free at least ",
      HumanBytes(needed_bytes),
      " on it, or enlarge it, and start mayflyd again; all that was acknowledged is "
      "kept");
}

}  // namespace mayfly
