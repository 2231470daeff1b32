// The steps in which a MemoryStorage changes its disk, and the hook with which a test interferes.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"

namespace mayfly {

enum class DiskOperation : uint8_t {
  // Failing one of these is the end of the process, as with any engine on one machine.
  kWriteRows,  // one batch: all of it is written or nothing
  kWriteSlots,
  kSyncRows,
  kSyncSlots,
  kWriteRecord,  // of what is known to be synced
  // Failing it with kFenced or kUncertain (storage_error.h) loses the shard that commits; with
  // kUncertain the commit is done or not, as the disk's seed says. Asked before the steps of a commit.
  kCommit,
  // Failing one of these fails the call that came for it, and nothing else.
  kGrow,
  kWriteTimeRecord,
  kReadCall,
  kReadRow,
  kReadSegment,
  kReadSlot,
  kReadDue,
};

// Whether a failure of it is final.
constexpr bool ChangesDisk(DiskOperation operation) {
  return operation <= DiskOperation::kWriteRecord;
}

// Asked before each operation, with no lock held: it may block, look at the disk, crash it, or use the
// storage. After an error the operation fails. How much of a write was done by then comes from the
// disk's seed: any part of the slots, and all or nothing of a batch of rows.
using OnDiskOperation = std::function<absl::Status(DiskOperation)>;

}  // namespace mayfly
