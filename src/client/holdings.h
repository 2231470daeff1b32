// Holdings are the outputs that were claimed for callers, until the callers acknowledge or release
// them. Holdings renew their claims and send their acks.
//
// A claim is renewed when a third of its lease has passed, so that a failed renewal can be repeated
// before the lease ends. An ack whose claim was lost claims the output again, and acknowledges it
// if it is the version that was delivered: callers do not see it twice.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "client/core.h"
#include "client/deadline_set.h"
#include "client/operation.h"
#include "client/reclaim.h"
#include "mayfly/call.h"

namespace mayfly::client {

// Thread-safe; callbacks run on the core's thread.
class Holdings : public Deadlines::Listener, public std::enable_shared_from_this<Holdings> {
 public:
  using AckDone = absl::AnyInvocable<void(absl::StatusOr<absl::Time>)>;
  using ReleaseDone = absl::AnyInvocable<void(absl::Status)>;

  // Called when the output of a call is not held any more: its ack or release was answered, or a
  // renewal has found that the call has ended.
  using OnFree = absl::AnyInvocable<void(const std::string& call_id)>;

  explicit Holdings(std::shared_ptr<Deadlines> deadlines, OnFree on_free = nullptr)
      : on_free_(std::move(on_free)), renewal_deadline_(std::move(deadlines)) {}

  void Hold(const std::shared_ptr<Core>& core, const ClaimedOutput& output, absl::Duration lease)
      EXCLUDES_LOCK(mutex_);
  bool IsHeld(const std::string& call_id) EXCLUDES_LOCK(mutex_);
  bool Holds(const Claim& claim) EXCLUDES_LOCK(mutex_);
  // Both take any claim. A claim that is not held is acknowledged or released once, as it is.
  void Ack(const std::shared_ptr<Core>& core, Claim claim, absl::Duration timeout,
           const std::optional<Cancellation>& cancellation, AckDone done) EXCLUDES_LOCK(mutex_);
  void Release(const std::shared_ptr<Core>& core, Claim claim, absl::Duration timeout,
               const std::optional<Cancellation>& cancellation, ReleaseDone done)
      EXCLUDES_LOCK(mutex_);
  // Stops renewing. On the core's thread.
  void Forget(const Claim& claim) EXCLUDES_LOCK(mutex_);
  void ForgetAll() EXCLUDES_LOCK(mutex_);

  // On the core's thread: claims are due for their renewal.
  void OnDeadline() override EXCLUDES_LOCK(mutex_);

 private:
  class AckOperation;
  using Renewals = DeadlineSet<std::string>;  // of call ids
  struct Held {
    Claim claim;
    OutputVersion version;
    absl::Duration lease;
    std::optional<Renewals::Key> renewal;  // none while it is acknowledged, or cannot be renewed
    std::shared_ptr<AckOperation> ack;     // under way
  };

  // Null when `claim` is not held.
  Held* Find(const Claim& claim) REQUIRES_LOCK(mutex_);
  void Erase(const std::string& call_id) REQUIRES_LOCK(mutex_);
  void ScheduleRenewal(Held* held) REQUIRES_LOCK(mutex_);
  void StopRenewing(Held* held) REQUIRES_LOCK(mutex_);
  // The claims to renew now, by lease, with their next renewals scheduled.
  std::map<absl::Duration, std::vector<Claim>> TakeDue() REQUIRES_LOCK(mutex_);
  void Renew(const std::shared_ptr<Core>& core, absl::Duration lease, std::vector<Claim> claims);
  void OnRenewed(const Claim& claim, const absl::Status& status) EXCLUDES_LOCK(mutex_);
  void OnAckEnd(const AckOperation* ack) EXCLUDES_LOCK(mutex_);

  OnFree on_free_;  // the core's thread's
  Mutex mutex_;
  std::weak_ptr<Core> core_ GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, Held> held_ GUARDED_BY(mutex_);
  Renewals renewals_ GUARDED_BY(mutex_);
  Deadline renewal_deadline_ GUARDED_BY(mutex_);  // no later than the first of renewals_
};

}  // namespace mayfly::client
