// Holdings are the outputs that were claimed for callers and that these have not given back: their
// claims are renewed, and acknowledged.
//
// Claims are renewed when a third of their lease has passed, so that a renewal that fails can be
// repeated before the lease ends. An ack rides on the stream that has brought the output, if that
// is still there. An ack whose claim was lost (the stream broke, the server restarted, the lease
// lapsed) claims the output again, and acknowledges it if it is the one that was delivered: callers
// do not see it twice.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "client/cancellation.h"
#include "client/core.h"
#include "client/output_feed.h"
#include "client/timer.h"
#include "mayfly/call.h"

namespace mayfly::client {

// Thread-safe; callbacks run on the core's thread.
class Holdings : public std::enable_shared_from_this<Holdings> {
 public:
  using AckDone = OutputFeed::AckDone;
  using ReleaseDone = OutputFeed::ReleaseDone;

  // A call whose output is not held any more: its ack or release was answered.
  using OnFree = absl::AnyInvocable<void(const std::string& call_id)>;

  explicit Holdings(std::shared_ptr<OutputFeed> feed, OnFree on_free = nullptr)
      : feed_(std::move(feed)), on_free_(std::move(on_free)) {}
  ~Holdings();

  void Hold(const std::shared_ptr<Core>& core, const ClaimedOutput& output, absl::Duration lease)
      EXCLUDES_LOCK(mutex_);
  bool IsHeld(const std::string& call_id) EXCLUDES_LOCK(mutex_);
  bool Holds(const Claim& claim) EXCLUDES_LOCK(mutex_);
  // Any claim: those that are not held are acknowledged and released just so.
  void Ack(const std::shared_ptr<Core>& core, Claim claim, absl::Duration timeout,
           const std::optional<Cancellation>& cancellation, AckDone done) EXCLUDES_LOCK(mutex_);
  void Release(const std::shared_ptr<Core>& core, Claim claim, absl::Duration timeout,
               const std::optional<Cancellation>& cancellation, ReleaseDone done)
      EXCLUDES_LOCK(mutex_);
  // Renews this no more. On the core's thread.
  void Forget(const Claim& claim) EXCLUDES_LOCK(mutex_);
  void ForgetAll() EXCLUDES_LOCK(mutex_);

 private:
  // What tells an output from the one that replaced it.
  struct Identity {
    uint32_t attempt = 0;
    uint64_t size_bytes = 0;
    friend bool operator==(const Identity&, const Identity&) = default;
  };
  struct AckOp {
    std::shared_ptr<Core> core;  // until it has ended; the core's thread's
    Claim claim;
    std::optional<Identity> identity;  // if it was held
    absl::Duration timeout;
    absl::Duration deadline;
    AckDone done;
    CancellationHook hook;  // of the thread that asks; it goes with the op
    int rounds = 0;
    bool ended = false;  // the core's thread's
  };
  using Op = std::shared_ptr<AckOp>;
  struct Held {
    Claim claim;
    Identity identity;
    absl::Duration lease;
    absl::Duration renew_at;
    Op ack;  // under way
  };

  void SetTimer(const std::shared_ptr<Core>& core, absl::Duration due) REQUIRES_LOCK(mutex_);
  void OnTime() EXCLUDES_LOCK(mutex_);
  void Renew(const std::shared_ptr<Core>& core, absl::Duration lease, std::vector<Claim> claims);
  void OnRenewed(const Claim& claim, const absl::Status& status) EXCLUDES_LOCK(mutex_);
  void AckBySelf(const std::shared_ptr<Core>& core, const Op& op);
  void OnAcked(const Op& op, absl::StatusOr<absl::Time> result);
  void ClaimAgain(const Op& op);
  void OnClaimedAgain(const std::weak_ptr<Core>& weak_core, const Op& op,
                      absl::StatusOr<ClaimedOutputs> claimed);
  void End(const Op& op, absl::StatusOr<absl::Time> result) EXCLUDES_LOCK(mutex_);

  const std::shared_ptr<OutputFeed> feed_;
  OnFree on_free_;  // the core's thread's
  std::shared_ptr<Timer> timer_;
  Mutex mutex_;
  std::weak_ptr<Core> core_ GUARDED_BY(mutex_);
  absl::Duration timer_due_ GUARDED_BY(mutex_) = absl::InfiniteDuration();
  absl::flat_hash_map<std::string, Held> held_ GUARDED_BY(mutex_);
};

}  // namespace mayfly::client
