// What the operator is told when the disk of the data directory is too small, or full.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "storage/local/disk_plan.h"

namespace mayfly {

// FAILED_PRECONDITION when a new store in `data_dir` would take no put for want of room. Before the
// directory is made, its parent tells. OK when the file system cannot be asked. `settings` need no
// disk_bytes.
absl::Status CheckRoomForNewStore(const std::string& data_dir, DiskSettings settings);

// Whether a text of RocksDB or of errno speaks of a disk without space.
bool SpeaksOfFullDisk(absl::string_view text);
// "the disk of storage.data_dir /var/lib/mayfly is full, ...: ", with what to do.
std::string FullDiskAdvice(const std::string& data_dir, DiskSettings settings);

}  // namespace mayfly
