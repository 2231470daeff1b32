// A TransferWatch ends a blocking transfer when its caller cancels it, when its time is up, or when
// it has stalled, whatever it is waiting for.
//
// A transfer with a timeout of its own ends when that has passed. Other transfers end when the
// client's timeout has passed without progress; the time in the caller's source or sink is not
// counted, because a pipe may be slow. Methods are called on the transfer's thread.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include <grpcpp/client_context.h>

#include "client/core.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

class TransferWatch {
 public:
  TransferWatch(std::shared_ptr<Core> core, const CallOptions& options);
  ~TransferWatch();
  TransferWatch(const TransferWatch&) = delete;
  TransferWatch& operator=(const TransferWatch&) = delete;

  // The RPC to cancel when the transfer is over; null when none is under way.
  void Attach(grpc::ClientContext* context);
  // Data was received or sent.
  void OnProgress();
  // Around calls of the source or sink.
  void BeginCallersTurn();
  void EndCallersTurn();
  // How long the transfer may go on without progress.
  absl::Duration Left() const;
  // Waits. Not OK when the transfer is over before the pause is.
  absl::Status Pause(absl::Duration pause);
  // Of a transfer that ended with `status`: why the watch has ended it, or `status` if it has not.
  absl::Status Verdict(const absl::Status& status) const;

 private:
  class State;
  const std::shared_ptr<Core> core_;
  const std::shared_ptr<State> state_;
};

}  // namespace mayfly::client
