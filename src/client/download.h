// A Download streams one payload from the server into a sink, and goes on from what it has when the
// stream breaks. It blocks its thread, and lives on its stack.
//
// A claim that was lost on the way (a server that restarted, a lease that lapsed) is made again; if
// a later attempt replaced the output meanwhile, the sink gets that one, from 0 on.
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

class Download {
 public:
  // `sink` outlives this.
  Download(const std::shared_ptr<Core>& core, PayloadSink* sink, const CallOptions& options);

  absl::StatusOr<StoredInput> RunInput(const std::string& call_id);
  absl::StatusOr<ClaimedOutput> RunOutput(ClaimedOutput output);

 private:
  absl::Status Run();
  // One stream, from offset_ on.
  absl::Status ReceiveOnce();
  absl::Status Take(const v1::DownloadHeader& header);
  absl::Status Take(const v1::DownloadSegment& segment);
  absl::Status Take(const v1::DownloadFinish& finish);
  absl::Status ClaimAgain();

  const std::shared_ptr<Core> core_;
  PayloadSink* const sink_;
  const Progress progress_;
  const std::optional<Cancellation> cancellation_;
  TransferWatch watch_;
  v1::DownloadRequest request_;
  std::optional<v1::DownloadHeader> header_;
  uint64_t offset_ = 0;  // of what comes next
  uint32_t crc32c_ = 0;  // of all before
  bool finished_ = false;
  bool moved_on_ = false;  // in the stream under way
  absl::Status sink_error_;
};

// Into memory; OUT_OF_RANGE when it is larger than ClientOptions.data_bytes_max.
absl::StatusOr<StoredInput> DownloadInputToMemory(const std::shared_ptr<Core>& core,
                                                  const std::string& call_id, uint64_t size_bytes,
                                                  const CallOptions& options);
absl::StatusOr<ClaimedOutput> DownloadOutputToMemory(const std::shared_ptr<Core>& core,
                                                     ClaimedOutput output, uint64_t data_bytes_max,
                                                     const CallOptions& options);

}  // namespace mayfly::client
