// A KeptDownload writes a payload to a file atomically and durably, and keeps what it has when it is
// broken off: the same download resumes there, also in another process and after a power loss.
//
// Beside the file NAME, in the same directory, it has two hidden files while it is not finished:
//
//   .NAME.CALL.part      the data so far
//   .NAME.CALL.mayfly    a DownloadRecord
//
// The caller drives an output through these steps; a crash after any of them loses nothing:
//
//   Open, PrepareClaim    the claim token is on the disk before the output is claimed with it
//   WriteAt, Finish       the data is on the disk
//   RecordComplete        so is the fact that it is whole
//   Place                 NAME is the payload. A crash from here on finds complete() and IsInPlace()
//   the ack, then Remove  nothing is left to resume
//
// Errors of the disk are FAILED_PRECONDITION.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/file_system.h"
#include "cli/download_record.h"
#include "cli/output_file.h"
#include "mayfly/call.h"
#include "mayfly/payload_io.h"

namespace mayfly::cli {

class KeptDownload : public client::PayloadSink {
 public:
  // `path` may be a link, which is followed. ABORTED: another process is writing the file.
  static absl::StatusOr<std::unique_ptr<KeptDownload>> Open(FileSystem* file_system,
                                                            const std::string& path,
                                                            const std::string& call_id,
                                                            DirectorySync directory_sync);
  // Whether a download of this call to this file was broken off, or is under way.
  static bool IsKept(const std::string& path, const std::string& call_id);

  // The token of the earlier claim. Otherwise a new one is recorded.
  absl::StatusOr<std::string> PrepareClaim();
  // For an output that was claimed already, with this token.
  absl::Status PrepareClaim(const std::string& token);

  absl::StatusOr<uint64_t> KeptBytes(const client::PayloadVersion& version) override;
  absl::StatusOr<size_t> ReadKept(uint64_t offset, char* buffer, size_t size) override;
  absl::Status WriteAt(uint64_t offset, absl::string_view data) override;
  absl::Status Finish(uint64_t size) override;

  absl::Status RecordComplete(const client::ClaimedOutput& output);
  absl::Status Place();
  // Removes the two files. Without it they stay.
  void Remove();

  // Whether an output may have been claimed, with the token of the record.
  bool may_hold_claim() const { return !record_->claim_token().empty(); }
  // The output that was received as a whole and has not been acknowledged, as far as is known.
  const std::optional<client::ClaimedOutput>& complete() const { return record_->complete(); }
  // Whether the file has the data of complete().
  absl::StatusOr<bool> IsInPlace();
  // How many bytes wait to be put in place.
  uint64_t PartBytes();
  // The disk has failed.
  bool failed() const { return failed_; }

 private:
  KeptDownload(FileSystem* file_system, const std::string& path, const std::string& call_id,
               DirectorySync directory_sync);

  absl::Status BeginPart();
  absl::Status OpenPart();
  absl::StatusOr<uint64_t> OpenKept(const client::PayloadVersion& version);
  absl::Status FileError(const absl::Status& status);

  FileSystem* const file_system_;
  const std::string path_;  // of the target, if that was a link
  const std::string directory_;
  const std::string part_;
  const std::string record_path_;
  const DirectorySync directory_sync_;
  std::unique_ptr<DownloadRecord> record_;
  std::unique_ptr<File> file_;  // the part, once it is written to
  std::unique_ptr<File> kept_;  // read by ReadKept
  bool failed_ = false;
};

}  // namespace mayfly::cli
