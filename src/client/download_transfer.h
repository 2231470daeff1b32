// A DownloadTransfer streams one payload from the server into a sink. When the stream breaks it
// resumes where the sink is. It blocks its thread, and lives on that thread's stack.
//
// It reclaims an output whose claim was lost during the download. If a later attempt replaced the
// output meanwhile, the sink gets the later one, from offset 0 on. It goes on behind data that the
// sink has from another process; if the whole has not the payload's checksum, it begins again, once.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "client/core.h"
#include "client/transfer_watch.h"
#include "mayfly/call.h"
#include "mayfly/client_options.h"
#include "mayfly/payload_io.h"

namespace mayfly::client {

class DownloadTransfer {
 public:
  // `sink` outlives this.
  DownloadTransfer(const std::shared_ptr<Core>& core, PayloadSink* sink,
                   const CallOptions& options);

  absl::StatusOr<StoredInput> RunInput(const std::string& call_id);
  absl::StatusOr<ClaimedOutput> RunOutput(ClaimedOutput output);

 private:
  absl::Status Run();
  // Begins behind what the sink has of this version.
  absl::Status BeginVersion(const PayloadVersion& version);
  absl::Status ReadKept(const PayloadVersion& version);
  // Whether to begin again because what the sink had is not the beginning of the payload.
  bool MayBeginAnew(const absl::Status& status);
  // One stream, from offset_ on.
  absl::Status ReceiveOnce();
  absl::Status Take(const v1::DownloadHeader& header);
  absl::Status Take(const v1::DownloadSegment& segment);
  absl::Status Take(const v1::DownloadFinish& finish);
  absl::Status Reclaim();

  const std::shared_ptr<Core> core_;
  PayloadSink* const sink_;
  const Progress progress_;
  const std::optional<Cancellation> cancellation_;
  const std::shared_ptr<TransferWatch> watch_;
  v1::DownloadRequest request_;
  std::optional<v1::DownloadHeader> header_;
  uint64_t offset_ = 0;  // of the next segment
  uint32_t crc32c_ = 0;  // of the data before offset_
  PayloadVersion version_;
  bool has_resumed_ = false;  // with data that the sink had
  bool has_begun_anew_ = false;
  bool finished_ = false;
  bool moved_on_ = false;  // in the stream under way
  absl::Status sink_error_;
};

// Downloads into memory. OUT_OF_RANGE when the data is larger than ClientOptions.data_bytes_max, or
// than `data_bytes_max`.
absl::StatusOr<StoredInput> DownloadInputToMemory(const std::shared_ptr<Core>& core,
                                                  const std::string& call_id, uint64_t size_bytes,
                                                  const CallOptions& options);
absl::StatusOr<ClaimedOutput> DownloadOutputToMemory(const std::shared_ptr<Core>& core,
                                                     ClaimedOutput output, uint64_t data_bytes_max,
                                                     const CallOptions& options);

}  // namespace mayfly::client
