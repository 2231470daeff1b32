// Drives complete lives of calls through a CallStore without gRPC: batches in flight, whose
// callbacks take each from put to ack.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "store/store_harness.h"

namespace mayfly {

struct DriverOptions {
  uint32_t call_count = 0;
  uint32_t batch_calls = 1;
  uint32_t batches_in_flight = 1;
  size_t payload_bytes = 1024;
  bool random_ack_order = false;
};

class StoreDriver {
 public:
  StoreDriver(StoreHarness* harness, const DriverOptions& options);

  // Puts input, gets input, puts output, claims and acks every call; returns when all are gone.
  void RunLives();
  // Puts input and output of every call and leaves them.
  void PutAll(absl::Duration ttl);

 private:
  using Ids = std::vector<CallId>;

  // Calls start(batch) for every batch, so many at once; start calls Finish when it is done.
  void ForEachBatch(absl::FunctionRef<void(uint32_t batch)> start);
  void Finish();
  Ids IdsOf(uint32_t batch) const;

  void PutInputs(Ids ids, absl::Duration ttl, absl::AnyInvocable<void()> then);
  void PutOutputs(Ids ids, absl::Duration ttl, absl::AnyInvocable<void()> then);
  void StartLife(Ids ids);
  void Claim(Ids ids);
  void Ack(std::vector<ClaimRef> claims);

  StoreHarness* const harness_;
  const DriverOptions options_;
  Tenant* const tenant_;
  const std::string payload_;
  std::vector<CallId> ids_;

  Mutex mutex_;
  ConditionVariable changed_;
  uint32_t in_flight_ GUARDED_BY(mutex_) = 0;
  std::vector<ClaimRef> claimed_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
