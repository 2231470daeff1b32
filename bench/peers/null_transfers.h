// Upload and Download of the null server: gRPC streams whose messages are kept in memory as they
// arrived. It checks and copies nothing.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include <grpcpp/support/server_callback.h>

#include "base/mutex.h"
#include "mayfly/v1/function_io.pb.h"

namespace mayfly::peers {

// Payloads by call id. Thread-safe.
class TransferMap {
 public:
  // In order; the strings are segments.
  struct Stored {
    std::vector<std::string> segments;
    uint64_t size_bytes = 0;
    uint32_t crc32c = 0;
  };

  grpc::ServerReadReactor<v1::UploadRequest>* Upload(v1::UploadResponse* response);
  grpc::ServerWriteReactor<v1::DownloadResponse>* Download(const v1::DownloadRequest& request);

  void Put(const std::string& call_id, Stored stored);
  // Null when there is none.
  std::shared_ptr<const Stored> Get(const std::string& call_id);
  void Erase(const std::string& call_id);

 private:
  Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<const Stored>> payloads_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::peers
