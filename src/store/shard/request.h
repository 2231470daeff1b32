// An operation in flight through a shard, and the batch of the request that it belongs to.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"

#include "base/secret_bytes.h"
#include "call/operation.h"
#include "storage/sealed.h"
#include "store/group_events.h"
#include "store/payload.h"
#include "store/quota.h"
#include "store/tenant.h"

namespace mayfly {

// Collects the results of a request's operations, which may run on several shards, and hands them
// over in order when the last one is there. Complete may be called from any thread, once for each
// index.
class Batch {
 public:
  using Done = absl::AnyInvocable<void(std::vector<OperationResult>)>;

  // `queue` is the room that its operations take until they are answered.
  Batch(size_t count, QueueLease queue, Done done)
      : results_(count), remaining_(count), queue_(std::move(queue)), done_(std::move(done)) {}

  void Complete(size_t index, OperationResult result) {
    results_[index] = std::move(result);
    if (remaining_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
    queue_ = QueueLease();
    done_(std::move(results_));
  }

 private:
  std::vector<OperationResult> results_;
  std::atomic<size_t> remaining_;
  QueueLease queue_;
  Done done_;
};

// What a put brings beside its operation.
struct PutContent {
  PayloadMetadata metadata;
  uint64_t size_bytes = 0;
  // When this is refused, nothing was sealed: the put is refused if the rules would store it.
  Reservation reservation;
  SecretBytes secret;
  Sealed row;
  // Uploaded: the slot is written already.
  std::optional<UploadId> upload = std::nullopt;
  // The upload's own; outlives the request, whose shard alone uses it meanwhile.
  Reservation* upload_reservation = nullptr;
  // Uploaded: whether its call has ended since the upload began. Outlives the request.
  const std::atomic<bool>* call_has_ended = nullptr;
};

struct Request {
  Tenant* tenant = nullptr;
  CallKey key;
  Operation operation;
  std::unique_ptr<PutContent> content;  // puts only
  std::shared_ptr<Batch> batch;
  size_t index = 0;  // in the batch

  void Complete(OperationResult result) { batch->Complete(index, std::move(result)); }
};

// A request that is decided, and waits for the disk.
struct Answer {
  Request request;
  OperationResult result;
  GroupEvent event;  // to be told before it is given

  void Give() { request.Complete(std::move(result)); }
};

// Gives every request the same refusal.
inline void RefuseAll(std::vector<Request> requests, const absl::Status& status) {
  for (Request& request : requests) {
    OperationResult result;
    result.status = status;
    request.Complete(std::move(result));
  }
}

}  // namespace mayfly
