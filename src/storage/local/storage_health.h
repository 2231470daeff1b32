// StorageHealth remembers the first failure, and refuses everything after it.
//
// After a failed write or sync nobody knows what the disk holds: the kernel may have dropped the
// pages it could not write and call the next sync a success. So nothing is tried again; the
// process must end and recover from what is really there. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "base/error.h"

namespace mayfly {

enum class StorageLogLevel { kInfo, kWarning, kError };
// Called from any thread, RocksDB's own too.
using StorageLog = std::function<void(StorageLogLevel level, absl::string_view text)>;

class StorageHealth {
 public:
  explicit StorageHealth(StorageLog log) : log_(std::move(log)) {}

  // OK, or UNAVAILABLE (STORAGE_DOWN) for ever.
  absl::Status Check() const {
    if (!failed_.load(std::memory_order_acquire)) [[likely]]
      return absl::OkStatus();
    return MakeError(absl::StatusCode::kUnavailable, Reason::kStorageDown,
                     "storage is down after a failed write or sync, a restart recovers it");
  }

  // Records the failure of `operation` and returns what Check() returns from now on.
  absl::Status Fail(absl::string_view operation, absl::string_view text) {
    failed_.store(true, std::memory_order_release);
    Log(StorageLogLevel::kError, absl::StrCat(operation, " failed: ", text));
    return Check();
  }

  void Log(StorageLogLevel level, absl::string_view text) const {
    if (log_) log_(level, text);
  }

 private:
  const StorageLog log_;
  std::atomic<bool> failed_{false};
};

}  // namespace mayfly
