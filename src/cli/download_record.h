// A DownloadRecord says how far a download to a file has come, for the process that resumes it.
//
// It is a hidden file, mode 0600, beside the payload's. One process has it open at a time. It has a
// line of JSON for each step:
//
//   {"claim_token":"..."}                 before the output is claimed; base64
//   {"attempt":1,"size_bytes":5242880}    before the first byte of this output
//   {"complete":{...}}                    when all its bytes are synced, before they are put in place
//
// Each line is synced. A line that a power loss has cut off, and all behind it, count as not written.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include <nlohmann/json_fwd.hpp>

#include "base/file_system.h"
#include "mayfly/call.h"
#include "mayfly/payload_io.h"

namespace mayfly::cli {

class DownloadRecord {
 public:
  // ABORTED: another process has it open. FAILED_PRECONDITION: it is not a file of this user alone.
  static absl::StatusOr<std::unique_ptr<DownloadRecord>> Open(FileSystem* file_system,
                                                              const std::string& path);
  // Leaves the file.
  ~DownloadRecord();
  DownloadRecord(const DownloadRecord&) = delete;
  DownloadRecord& operator=(const DownloadRecord&) = delete;

  // Empty: none.
  const std::string& claim_token() const { return claim_token_; }
  const std::optional<client::PayloadVersion>& version() const { return version_; }
  // Of that version, without its data. Its claim is the one under which it was received.
  const std::optional<client::ClaimedOutput>& complete() const { return complete_; }

  absl::Status SetClaimToken(const std::string& token);
  absl::Status SetVersion(const client::PayloadVersion& version);
  absl::Status SetComplete(const client::ClaimedOutput& output);
  // Removes the file, and with it what keeps others out: from now on another process may begin the
  // same download anew. To be called last, when all else of the download is removed or in place.
  absl::Status Remove();

 private:
  DownloadRecord(FileSystem* file_system, std::string path, int lock)
      : file_system_(file_system), path_(std::move(path)), lock_(lock) {}

  absl::Status Load();
  // False if it is no line of a record.
  bool Read(const std::string& line);
  absl::Status Append(const nlohmann::json& line);

  FileSystem* const file_system_;
  const std::string path_;
  const int lock_;  // a descriptor; the kernel drops the lock when the process ends
  std::unique_ptr<File> file_;
  uint64_t end_ = 0;  // of its lines
  std::string claim_token_;
  std::optional<client::PayloadVersion> version_;
  std::optional<client::ClaimedOutput> complete_;
};

// FAILED_PRECONDITION unless the path is a regular file of this user with no other name: in a
// directory such as /tmp, others could have put something in its place.
absl::Status CheckOwnFile(const std::string& path);

}  // namespace mayfly::cli
