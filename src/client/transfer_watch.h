// A TransferWatch ends a transfer that its caller has cancelled, whose time is up, or that has
// stalled, whatever it is waiting for.
//
// With a timeout of its own a transfer ends when that has passed; otherwise when the client's
// timeout has passed without progress. What the caller's source or sink takes is not counted then: a
// pipe may be slow. The transfer's thread calls it.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include <grpcpp/client_context.h>

#include "client/cancellation.h"
#include "client/core.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

class TransferWatch {
 public:
  TransferWatch(std::shared_ptr<Core> core, const CallOptions& options);
  ~TransferWatch();
  TransferWatch(const TransferWatch&) = delete;
  TransferWatch& operator=(const TransferWatch&) = delete;

  // The RPC under way, which is to be cancelled; null when there is none.
  void Attach(grpc::ClientContext* context);
  // Something came, or went.
  void OnProgress();
  // Around calls of the source or sink.
  void BeginCallersTurn();
  void EndCallersTurn();
  // How long the transfer may go on without progress.
  absl::Duration Left() const;
  // Waits. Not OK when the transfer is over meanwhile.
  absl::Status Pause(absl::Duration pause);
  // `status`, or why the watch has ended the transfer that ended so.
  absl::Status Verdict(const absl::Status& status) const;

 private:
  struct State;
  const std::shared_ptr<Core> core_;
  const std::shared_ptr<State> state_;  // the timer's too
  CancellationHook hook_;
};

}  // namespace mayfly::client
