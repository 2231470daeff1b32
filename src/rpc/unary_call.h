// A UnaryCall is one RPC in flight: it finishes once, writes a line for the log at level debug, and
// deletes itself when gRPC is done with it.
//
// Only the store's callback finishes it, a cancelled claim's too. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include <grpcpp/support/server_callback.h>

#include "base/clock.h"
#include "rpc/access.h"
#include "rpc/in_flight.h"
#include "rpc/log.h"
#include "store/call_store.h"

namespace mayfly {

class UnaryCall : public grpc::ServerUnaryReactor {
 public:
  // All outlive the call.
  UnaryCall(Rpc rpc, int item_count, InFlight* in_flight, Log* log, Clock* clock);
  ~UnaryCall() override { in_flight_->Leave(); }

  // Who is calling, for the log.
  void set_tenant(const std::string& name) { tenant_ = name; }
  // What to cancel with the call. To be set before the call is handed to gRPC.
  void set_claim(std::shared_ptr<ClaimHandle> claim) { claim_ = std::move(claim); }

  // End the RPC; nothing of it may be touched afterwards.
  void FinishWith(const absl::Status& status);
  void FinishCancelled();

  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  void WriteLine(const grpc::Status& status) const;

  const Rpc rpc_;
  const int item_count_;
  InFlight* const in_flight_;
  Log* const log_;
  Clock* const clock_;
  const bool is_logged_;
  const absl::Duration begun_;  // of the clock's boottime; only if logged
  std::string tenant_;
  std::shared_ptr<ClaimHandle> claim_;
};

}  // namespace mayfly
