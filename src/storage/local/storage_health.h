// StorageHealth remembers the first failure, and refuses everything after it.
//
// After a failed write or sync nobody knows what the disk holds: the kernel may have dropped the
// pages it could not write and call the next sync a success. So nothing is tried again; the
// process must end and recover from what is really there.
//
// A read that fails is another matter: it is an alarm, which is counted, and logged at most once in
// kAlarmInterval for each operation, since whoever polls a damaged call meets it again and again.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "base/error.h"
#include "base/mutex.h"
#include "storage/storage_error.h"

namespace mayfly {

enum class StorageLogLevel { kInfo, kWarning, kError };
// Called from any thread, RocksDB's own too.
using StorageLog = std::function<void(StorageLogLevel level, absl::string_view text)>;

class StorageHealth {
 public:
  static constexpr absl::Duration kAlarmInterval = absl::Seconds(10);

  explicit StorageHealth(StorageLog log) : log_(std::move(log)) {}

  // OK, or UNAVAILABLE (STORAGE_DOWN) for ever.
  absl::Status Check() const {
    if (!failed_.load(std::memory_order_acquire)) [[likely]]
      return absl::OkStatus();
    return WithKind(
        MakeError(absl::StatusCode::kUnavailable, Reason::kStorageDown,
                  "storage is down after a failed write or sync, a restart recovers it"),
        StorageErrorKind::kFailed);
  }

  // Records the failure of `operation` and returns what Check() returns from now on.
  absl::Status Fail(absl::string_view operation, absl::string_view text)
      EXCLUDES_LOCK(alarm_mutex_) {
    {
      MutexLock lock(&alarm_mutex_);
      if (failure_.empty()) failure_ = absl::StrCat(operation, " failed: ", text);
    }
    failed_.store(true, std::memory_order_release);
    Log(StorageLogLevel::kError, absl::StrCat(operation, " failed: ", text));
    return Check();
  }

  // "syncing slots failed: ...", the first one; empty before. For the operator.
  std::string failure() const EXCLUDES_LOCK(alarm_mutex_) {
    MutexLock lock(&alarm_mutex_);
    return failure_;
  }

  void Log(StorageLogLevel level, absl::string_view text) const {
    if (log_) log_(level, text);
  }

  // `operation` is one of a few fixed texts.
  void Alarm(absl::string_view operation, absl::string_view text) const
      EXCLUDES_LOCK(alarm_mutex_) {
    alarms_.fetch_add(1, std::memory_order_relaxed);
    const absl::Time now = absl::Now();
    uint64_t unlogged = 0;
    {
      MutexLock lock(&alarm_mutex_);
      LastAlarm& last = last_alarms_[std::string(operation)];
      if (now >= last.logged && now - last.logged < kAlarmInterval) {
        ++last.unlogged;
        return;
      }
      unlogged = std::exchange(last.unlogged, 0);
      last.logged = now;
    }
    const std::string before =
        unlogged == 0 ? "" : absl::StrCat(" (and ", unlogged, " times since this was last logged)");
    Log(StorageLogLevel::kError, absl::StrCat("damage, ", operation, ": ", text, before));
  }
  uint64_t alarms() const { return alarms_.load(std::memory_order_relaxed); }

 private:
  struct LastAlarm {
    absl::Time logged = absl::InfinitePast();
    uint64_t unlogged = 0;
  };

  const StorageLog log_;
  std::atomic<bool> failed_{false};
  mutable std::atomic<uint64_t> alarms_{0};
  mutable Mutex alarm_mutex_;
  mutable std::map<std::string, LastAlarm> last_alarms_ GUARDED_BY(alarm_mutex_);
  std::string failure_ GUARDED_BY(alarm_mutex_);
};

}  // namespace mayfly
