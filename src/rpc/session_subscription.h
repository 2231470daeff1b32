// A SessionSubscription is one subscription of a session. It connects a Subscription of the store
// with the messages of the session: what the store delivers collects here until the session writes
// it.
//
//   opened    -> the store's Subscription delivers outputs and ended calls
//   stopped   by the client's `end` with keep_claims, by a drain or by a failure: nothing more is
//             claimed; what was claimed is still written, then the end, and the claims last
//   ended     for every other reason: the claims are released, and then the end is written
//
// Memory is bounded by what the Subscription delivers unsent. Thread-safe. Its lock is taken under
// the session's.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "base/mutex.h"
#include "config/config.h"
#include "mayfly/v1/function_io.pb.h"
#include "rpc/log.h"
#include "store/call_store.h"

namespace mayfly {

class SessionSubscription : public std::enable_shared_from_this<SessionSubscription> {
 public:
  // Maximum of a part, which has one output at least.
  static constexpr uint64_t kPartBytesMax = 256 << 10;
  static constexpr int kPartEntriesMax = 256;
  // How many malformed ids may be reported and not written, before no more are read.
  static constexpr int64_t kMalformedMax = 1024;

  // All must outlive it.
  struct Surroundings {
    const Config* config = nullptr;
    CallStore* store = nullptr;
    Tenant* tenant = nullptr;
    PayloadTaker* taker = nullptr;
    Log* log = nullptr;
  };

  // `on_change` is called, on any thread and without a lock, when there is something to write.
  SessionSubscription(uint64_t number, const Surroundings& surroundings,
                      absl::AnyInvocable<void() const> on_change)
      : number_(number), surroundings_(surroundings), on_change_(std::move(on_change)) {}

  // Carries out a message about it. The first one has `open`.
  void Handle(const v1::SubscriptionRequest& request) EXCLUDES_LOCK(mutex_);
  // Whether so many registrations queue up at the shards that further ones should wait.
  bool IsBehind() EXCLUDES_LOCK(mutex_);
  // Whether the client is to read before more of its messages are read.
  bool HasTooMuchToTell() EXCLUDES_LOCK(mutex_);
  // Claims of the tenant have ended.
  void Retry() EXCLUDES_LOCK(mutex_);
  void Drain() EXCLUDES_LOCK(mutex_);
  // Releases its claims and ends it, with this status for the client.
  void End(const absl::Status& status) EXCLUDES_LOCK(mutex_) {
    EndWith(status, ClaimsAtEnd::kRelease);
  }
  // The session ends. The claims wait for another subscription with their token.
  void EndWithSession() EXCLUDES_LOCK(mutex_) { EndWith(absl::OkStatus(), ClaimsAtEnd::kAwait); }
  // Likewise, and the client is gone: nothing more is written.
  void Abandon() EXCLUDES_LOCK(mutex_);

  // How many bytes the next part has; 0: there is none.
  uint64_t next_bytes() EXCLUDES_LOCK(mutex_);
  // Takes the next part, which there is.
  void TakePart(v1::SubscriptionResponse* response) EXCLUDES_LOCK(mutex_);
  // The parts that were taken are written, or lost with the connection.
  void OnWritten() EXCLUDES_LOCK(mutex_);
  // Everything is over: the claims are released, and the end was taken.
  bool is_over() EXCLUDES_LOCK(mutex_);

 private:
  struct Part {
    v1::SubscriptionResponse response;
    uint64_t bytes = 0;
    int64_t malformed_count = 0;
    // What the Subscription has delivered, without what was found here.
    int64_t told_count = 0;
    uint64_t told_bytes = 0;
    std::vector<uint64_t> payloads;  // by generation
  };

  absl::Status CheckCounts(const v1::SubscriptionRequest& request) const;
  absl::Status Open(const v1::SubscriptionRequest& request) EXCLUDES_LOCK(mutex_);
  absl::Status Change(Subscription* subscription, const v1::SubscriptionRequest& request)
      EXCLUDES_LOCK(mutex_);
  std::vector<CallId> ReadIds(const google::protobuf::RepeatedPtrField<std::string>& texts,
                              absl::string_view list) EXCLUDES_LOCK(mutex_);
  void OnDelivery(Delivery delivery) EXCLUDES_LOCK(mutex_);
  // The part to which to add an entry with this many payload bytes.
  Part* PartFor(uint64_t payload_bytes) REQUIRES_LOCK(mutex_);
  void ReturnAll(const std::vector<uint64_t>& payloads);
  // The first call decides.
  void EndWith(const absl::Status& status, ClaimsAtEnd claims) EXCLUDES_LOCK(mutex_);
  // Outputs that are not written. Returns their payloads.
  std::vector<uint64_t> DropOutputs() REQUIRES_LOCK(mutex_);
  std::shared_ptr<Subscription> subscription() EXCLUDES_LOCK(mutex_);

  const uint64_t number_;
  const Surroundings surroundings_;
  const absl::AnyInvocable<void() const> on_change_;

  Mutex mutex_;
  std::shared_ptr<Subscription> subscription_ GUARDED_BY(mutex_);  // null before it is opened
  std::deque<Part> parts_ GUARDED_BY(mutex_);
  Part written_ GUARDED_BY(mutex_);                 // without its response, which gRPC is writing
  int64_t malformed_count_ GUARDED_BY(mutex_) = 0;  // in parts_ and written_
  bool is_ending_ GUARDED_BY(mutex_) = false;
  bool is_abandoned_ GUARDED_BY(mutex_) = false;
  bool is_released_ GUARDED_BY(mutex_) = false;
  bool end_is_taken_ GUARDED_BY(mutex_) = false;
  absl::Status end_ GUARDED_BY(mutex_);
};

}  // namespace mayfly
