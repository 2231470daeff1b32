// What callers and the operator are told of a read that failed.
#include <errno.h>
#include <string.h>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "storage/local/local_storage.h"
#include "storage/storage_error.h"

namespace mayfly {
namespace {

// For whoever meets a sector that the disk would not read.
constexpr absl::Duration kReadRetryDelay = absl::Seconds(1);
// Of a call's id in the log: its time and 12 random bits. Logs hold no whole call ids (rpc/log.h).
constexpr size_t kLoggedIdChars = 18;

// The file is gone, or this process may not read it: waiting does not help. RocksDB tells most of
// these apart in words only. A lack of descriptors or memory is none of them.
bool IsFileLost(const rocksdb::Status& status) {
  if (status.IsPathNotFound()) return true;
  if (!status.IsIOError()) return false;
  const std::string text = status.ToString();
  for (const int error : {ENOENT, EACCES, EPERM, EISDIR, ENOTDIR, ELOOP, ESTALE}) {
    if (absl::EndsWith(text, strerrordesc_np(error))) return true;
  }
  return false;
}

std::string AlarmText(const rocksdb::Status& status, bool is_lost, const CallKey* key) {
  std::string text = status.ToString();
  if (key == nullptr) return text;
  absl::StrAppend(&text, ": call ", key->id.ToString().substr(0, kLoggedIdChars),
                  "-... of tenant number ", static_cast<uint32_t>(key->tenant));
  if (is_lost) {
    absl::StrAppend(&text,
                    " answers DATA_LOSS until the file is back and may be read, or the call ends");
  } else if (status.IsCorruption()) {
    absl::StrAppend(&text, " answers DATA_LOSS until it ends");
  } else {
    absl::StrAppend(&text, " is asked to try again: see the kernel's log for errors of the disk");
  }
  return text;
}

}  // namespace

absl::Status LocalStorage::FailedRead(absl::string_view operation, const rocksdb::Status& status,
                                      const CallKey* key) const {
  const bool is_lost = IsFileLost(status);
  health_.Alarm(operation, AlarmText(status, is_lost, key));
  if (is_lost || status.IsCorruption()) {
    return WithKind(MakeError(absl::StatusCode::kDataLoss, Reason::kAuthenticationFailed,
                              is_lost ? "what is stored of the call is lost"
                                      : "what is stored of the call is damaged"),
                    StorageErrorKind::kUnreadable);
  }
  const absl::Status unread =
      WithRetryDelay(MakeError(absl::StatusCode::kUnavailable, Reason::kStorageDown,
                               "the disk failed to read what is stored of the call"),
                     kReadRetryDelay);
  return WithKind(unread, StorageErrorKind::kUnreadable);
}

absl::Status LocalStorage::BadRow(absl::string_view operation, const CallKey* key) const {
  return FailedRead(operation,
                    rocksdb::Status::Corruption("a row is not in the format of this program"), key);
}

absl::Status LocalStorage::EndWalk(absl::string_view operation, const RowWalk& rows) {
  if (rows.skips() > 0) {
    skipped_.fetch_add(rows.skips(), std::memory_order_relaxed);
    health_.Alarm(operation, absl::StrCat("stepped over ", rows.skips(),
                                          " places, the last: ", rows.damage()));
  }
  return rows.status().ok() ? absl::OkStatus() : FailedRead(operation, rows.status());
}

}  // namespace mayfly
