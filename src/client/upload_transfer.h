// An UploadTransfer streams one payload to the server, in segments. When the stream breaks it
// resumes after the bytes that the server has kept. So it does when another process has begun the
// same upload. It blocks its thread, and lives on that thread's stack.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "client/core.h"
#include "client/transfer_watch.h"
#include "mayfly/call.h"
#include "mayfly/client_options.h"
#include "mayfly/payload_io.h"

namespace mayfly::client {

class UploadTransfer {
 public:
  // `source` outlives this. The data of the input's or output's payload is empty.
  UploadTransfer(const std::shared_ptr<Core>& core, Input input, PayloadSource* source,
                 const CallOptions& options);
  UploadTransfer(const std::shared_ptr<Core>& core, Output output, PayloadSource* source,
                 const CallOptions& options);

  absl::StatusOr<Stored> Run();

 private:
  UploadTransfer(const std::shared_ptr<Core>& core, PayloadSource* source,
                 const CallOptions& options);

  v1::Payload* payload();  // of the header's item
  // Once the header has its item.
  void SetUploadId();
  // Whether to begin again with another call id, because the server rejected the time in the one that
  // was minted here.
  bool MayMintAgain(const absl::Status& status);
  // Whether to begin again because the server has kept other data, of another process.
  bool MayBeginAnew(const absl::Status& status);
  // One stream, from committed_ on. Sets source_error_.
  absl::StatusOr<Stored> SendOnce();
  absl::Status SendSegments(grpc::ClientWriterInterface<v1::UploadRequest>* writer);
  // Reads the segment at `offset` into request_.
  absl::Status ReadSegment(uint64_t offset);
  void WriteHeader();
  // Asks the server from where to resume, after a stream that broke.
  absl::Status QueryCommitted();
  // Of the data that another process has sent: reads it for the checksum.
  absl::Status ReadUpTo(uint64_t committed);

  const std::shared_ptr<Core> core_;
  PayloadSource* const source_;
  const Progress progress_;
  const std::shared_ptr<TransferWatch> watch_;
  v1::UploadHeader header_;
  bool id_is_minted_ = false;  // here, and not for the second time
  v1::UploadRequest request_;
  uint64_t committed_ = 0;  // the next stream begins here
  std::vector<uint32_t>
      crc32c_before_;             // of the data before each segment, and after the last one read
  std::optional<uint64_t> size_;  // when known from the source or its end
  uint64_t read_bytes_ = 0;       // of the source, from its beginning
  bool whole_was_read_ = false;
  uint64_t most_committed_ = 0;  // so far
  // The server had data of this upload. It may be another process's, of another payload: this process
  // may have read as much before it learns of it.
  bool has_resumed_ = false;
  bool has_begun_anew_ = false;
  absl::Status source_error_;
};

// Data in memory.
class StringSource : public PayloadSource {
 public:
  explicit StringSource(std::string data) : data_(std::move(data)) {}
  std::optional<uint64_t> SizeBytes() const override { return data_.size(); }
  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* buffer, size_t size) override;

 private:
  const std::string data_;
};

}  // namespace mayfly::client
