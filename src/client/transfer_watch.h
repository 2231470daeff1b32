// A TransferWatch ends a blocking transfer when its caller cancels it, when its time is up, or when
// it has stalled, whatever it is waiting for.
//
// A transfer with a timeout of its own ends when that has passed. Other transfers end when the
// client's timeout has passed without progress; the time in the caller's source or sink is not
// counted, because a pipe may be slow. Methods are called on the transfer's thread.
#pragma once

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include <grpcpp/client_context.h>

#include "base/mutex.h"
#include "client/core.h"
#include "client/operation.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

class TransferWatch : public Operation {
 public:
  // The transfer owns the watch, and holds the core for longer.
  static std::shared_ptr<TransferWatch> Start(const Core& core, const CallOptions& options);

  // The RPC to cancel when the transfer is over; null when none is under way.
  void Attach(grpc::ClientContext* context) EXCLUDES_LOCK(mutex_);
  // Data was received or sent.
  void OnProgress() EXCLUDES_LOCK(mutex_);
  // Around calls of the source or sink.
  void BeginCallersTurn() EXCLUDES_LOCK(mutex_);
  void EndCallersTurn() EXCLUDES_LOCK(mutex_);
  // How long the transfer may go on without progress.
  absl::Duration Left() EXCLUDES_LOCK(mutex_);
  // Waits. Not OK when the transfer is over before the pause is.
  absl::Status Pause(absl::Duration pause) EXCLUDES_LOCK(mutex_);
  // Of a transfer that ended with `status`: why the watch has ended it, or `status` if it has not.
  absl::Status Verdict(const absl::Status& status) EXCLUDES_LOCK(mutex_);

 private:
  TransferWatch(const Core& core, const CallOptions& options);

  void OnCancel() override EXCLUDES_LOCK(mutex_);
  void OnDeadline() override EXCLUDES_LOCK(mutex_);
  bool IsOver() REQUIRES_LOCK(mutex_) { return cancelled_ || expired_; }
  void WakeUp() REQUIRES_LOCK(mutex_);

  const bool is_total_;  // progress does not extend the timeout
  const absl::Duration timeout_;
  Mutex mutex_;
  ConditionVariable changed_;
  absl::Duration end_ GUARDED_BY(mutex_);
  std::optional<absl::Duration> callers_turn_ GUARDED_BY(mutex_);  // since when
  bool cancelled_ GUARDED_BY(mutex_) = false;
  bool expired_ GUARDED_BY(mutex_) = false;
  grpc::ClientContext* context_ GUARDED_BY(mutex_) = nullptr;
};

}  // namespace mayfly::client
