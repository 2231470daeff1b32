// Noting what is on the disk, so that a start can tell when some of it is gone.
//
// The slot file has the sequence that was last synced, which is written with every sync. That says
// nothing of older logs, whose rows come before it, and of a manifest that leads to older files. So
// the files of the database are noted too, once a second and when a log begins.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "storage/local/local_storage.h"
#include "storage/local/needed_logs.h"

namespace mayfly {

absl::Status LocalStorage::CheckFiles() {
  const auto synced =
      FileRecord::Read(options_.file_system, directory_->keys_path(), slots_->store_id());
  // It has no data of its own, so that its loss is none: the next one is written by this start.
  if (absl::IsNotFound(synced.status()) || absl::IsDataLoss(synced.status())) {
    const bool is_damaged = absl::IsDataLoss(synced.status());
    if (is_damaged || directory_->has_data()) {
      health_.Log(is_damaged ? StorageLogLevel::kError : StorageLogLevel::kWarning,
                  absl::StrCat("the record keys/database is ", is_damaged ? "damaged" : "missing",
                               ": the files of the database are not compared with it"));
    }
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(synced.status());
  const std::string& path = directory_->database_path();
  const auto found = FindDatabaseFiles(path);
  RETURN_IF_ERROR(found.status());
  absl::Status loss = CheckManifest(*synced, *found);
  if (loss.ok()) {
    // A manifest that has grown since may say that logs are not needed any more.
    const std::optional<uint64_t> oldest =
        found->manifest == synced->manifest ? 0 : OldestNeededLog(path);
    std::vector<DatabaseFiles::Entry> needed = synced->logs;
    std::erase_if(needed, [&](const auto& log) { return !oldest || log.number < *oldest; });
    loss = CheckLogsAreThere(needed, found->logs);
    // Any other content that is wrong has a wrong checksum.
    if (loss.ok()) loss = CheckLogsAreWritten(path, needed);
  }
  return RefuseLoss(loss);
}

absl::Status LocalStorage::CheckRecovered() {
  const uint64_t recovered = (*database_)->GetLatestSequenceNumber();
  const uint64_t synced = slots_->synced_sequence();
  if (recovered >= synced) return absl::OkStatus();
  RETURN_IF_ERROR(RefuseLoss(
      absl::DataLossError(absl::StrCat("data loss: the database recovered sequence ", recovered,
                                       ", but ", synced, " was once synced"))));
  return slots_->ResetSyncedSequence(recovered);
}

absl::Status LocalStorage::RefuseLoss(const absl::Status& loss) const {
  if (loss.ok()) return absl::OkStatus();
  if (options_.accept_data_loss) {
    health_.Log(StorageLogLevel::kWarning,
                absl::StrCat("accepted by storage.accept_data_loss: ", loss.message()));
    return absl::OkStatus();
  }
  health_.Log(StorageLogLevel::kError, loss.message());
  return absl::DataLossError(absl::StrCat(
      loss.message(),
      ": restore the data directory, or set storage.accept_data_loss for one start to give up what "
      "is lost"));
}

absl::Status LocalStorage::SyncRecord() {
  RETURN_IF_ERROR(health_.Check());
  RETURN_IF_ERROR(RecordSegmentFiles());
  RETURN_IF_ERROR(RecordFiles());
  const absl::Status status = slots_->SyncRecord();
  if (!status.ok()) return health_.Fail("syncing the slot file's record", status.message());
  return absl::OkStatus();
}

void LocalStorage::RecordFilesSoon() {
  if (record_wanted_.exchange(true)) return;
  file_record_thread_.Run([this] {
    record_wanted_ = false;
    // A failure of the disk is kept by `health_`; any other leaves it to the next record.
    RecordFiles().IgnoreError();
  });
}

absl::Status LocalStorage::RecordFiles() {
  RETURN_IF_ERROR(health_.Check());
  MutexLock lock(&file_record_mutex_);
  const auto files = FilesInUse();
  // A directory that cannot be listed now, for example for want of a descriptor, is listed again the
  // next time. The record stays true until then.
  if (!files.ok() || *files == recorded_files_) return absl::OkStatus();
  log_sync_wanted_ = true;
  RETURN_IF_ERROR(sync_group_.Sync());
  absl::Status status;
  if (file_record_ == nullptr) {
    auto record = FileRecord::Create(options_.file_system, directory_->keys_path(),
                                     slots_->store_id(), *files);
    status = record.status();
    if (record.ok()) file_record_ = *std::move(record);
  } else {
    status = file_record_->Write(*files);
  }
  if (WroteNothing(status)) return absl::OkStatus();
  if (!status.ok()) return health_.Fail("recording the database's files", status.message());
  recorded_files_ = *files;
  return absl::OkStatus();
}

// The order matters. RocksDB removes a log after the manifest has been synced that says it is not
// needed. So logs that are needed after the manifest was looked at are there as long as the manifest
// is the same. What the logs have by then is on the disk after the next sync of the log.
absl::StatusOr<DatabaseFiles> LocalStorage::FilesInUse() const {
  std::vector<std::string> names;
  uint64_t manifest_bytes = 0;
  const rocksdb::Status listed =
      (*database_)->GetLiveFiles(names, &manifest_bytes, /*flush_memtable=*/false);
  if (!listed.ok()) return absl::UnavailableError(listed.ToString());
  uint64_t oldest = 0;
  (*database_)->GetIntProperty(rocksdb::DB::Properties::kMinLogNumberToKeep, &oldest);
  auto files = FindDatabaseFiles(directory_->database_path());
  RETURN_IF_ERROR(files.status());
  // RocksDB may just have begun another manifest, or failed to make it the one that counts.
  if (std::find(names.begin(), names.end(), "/" + ManifestName(files->manifest.number)) ==
      names.end()) {
    return absl::UnavailableError("the manifest is being replaced");
  }
  files->manifest.bytes = manifest_bytes;
  // Logs that a killed process has left were never synced by this one, and are in table files.
  oldest = std::max(oldest, first_log_);
  std::erase_if(files->logs, [&](const auto& log) { return log.number < oldest; });
  return files;
}

}  // namespace mayfly
