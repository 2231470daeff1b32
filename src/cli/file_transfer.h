// Downloads to files, which resume what an earlier process has begun: see kept_download.h.
//
// An error says how many bytes are kept for the same command. Nothing is kept when there is nothing
// to resume: the call has ended, the payload is damaged, or the disk has failed.
#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "cli/kept_download.h"
#include "cli/waiting.h"
#include "mayfly/client.h"

namespace mayfly::cli {

struct FileTarget {
  FileSystem* file_system = nullptr;
  std::string path;
};

// Retrieves an output. If an earlier process has put it in place and then died, acknowledges it. The
// errors of Client::RetrieveInto and KeptDownload. `before_ack` of the options is called when the file
// is in place. `waiting` may be null.
absl::StatusOr<client::ClaimedOutput> RetrieveIntoFile(const client::Client& client,
                                                       const std::string& call_id,
                                                       const FileTarget& target,
                                                       client::RetrieveOptions options,
                                                       Waiting* waiting);

absl::StatusOr<client::StoredInput> GetInputIntoFile(const client::Client& client,
                                                     const std::string& call_id,
                                                     const FileTarget& target,
                                                     const client::CallOptions& options);

// The error with which a download has ended, with what is kept of it. Removes what is not kept.
absl::Status EndDownload(const absl::Status& status, KeptDownload* download);

}  // namespace mayfly::cli
