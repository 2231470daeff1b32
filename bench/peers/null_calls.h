// The null server's answers to the five requests of a call's life, whichever way they come.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"

#include "base/mutex.h"
#include "mayfly/v1/function_io.pb.h"

namespace mayfly::peers {

// Payloads by call id, in shards so that the threads of gRPC rarely meet. Thread-safe.
class PayloadMap {
 public:
  void Put(const std::string& call_id, const v1::Payload& payload);
  // A copy, or false when there is none.
  bool Get(const std::string& call_id, v1::Payload* out);
  void Erase(const std::string& call_id);

 private:
  struct StoredPayload {
    std::string data;
    uint32_t crc32c = 0;
  };
  struct Shard {
    Mutex mutex;
    absl::flat_hash_map<std::string, StoredPayload> payloads GUARDED_BY(mutex);
  };

  Shard& ShardOf(const std::string& call_id);

  std::array<Shard, 64> shards_;
};

// Thread-safe.
class NullCalls {
 public:
  void Answer(const v1::PutInputsRequest& request, v1::PutInputsResponse* response);
  void Answer(const v1::GetInputsRequest& request, v1::GetInputsResponse* response);
  void Answer(const v1::PutOutputsRequest& request, v1::PutOutputsResponse* response);
  // At once: the driver claims what it has put.
  void Answer(const v1::ClaimOutputsRequest& request, v1::ClaimOutputsResponse* response);
  void Answer(const v1::AckOutputsRequest& request, v1::AckOutputsResponse* response);

 private:
  void End(const v1::AckItem& item, v1::AckResult* result);

  PayloadMap inputs_;
  PayloadMap outputs_;
};

}  // namespace mayfly::peers
