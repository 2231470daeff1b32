// A UnaryCall is one unary RPC in flight. It finishes once, writes a log line at level debug, and
// deletes itself in OnDone.
//
// Only the store's callback finishes it, even when a claim is cancelled. If a claim is cancelled
// before its response has left the server, it is released. A call that returns payloads, or waits
// for them, is also an OpenCall. Thread-safe.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "base/clock.h"
#include "rpc/access.h"
#include "rpc/admission.h"
#include "rpc/call_record.h"
#include "rpc/in_flight.h"
#include "rpc/log.h"
#include "rpc/open_calls.h"
#include "store/call_store.h"

namespace mayfly {

class UnaryCall : public grpc::ServerUnaryReactor {
 public:
  // All must outlive the call.
  UnaryCall(Rpc rpc, int item_count, InFlight* in_flight, Log* log, Clock* clock);

  // The tenant of the caller, for the log.
  void set_tenant(const std::string& name) { record_.set_tenant(name); }
  // Registers the call as a holder of payloads. The call owns the returned taker.
  PayloadTaker* Open(OpenCalls* open_calls, grpc::CallbackServerContext* context,
                     const Admitted& admitted);
  // The claim to cancel together with the call. Set before the call is passed to gRPC.
  void set_claim(std::shared_ptr<ClaimHandle> claim) { claim_ = std::move(claim); }

  // Ends the RPC. CANCELLED: its claim was. The call must not be used afterwards.
  void FinishWith(const absl::Status& status);

  void OnCancel() override;
  void OnDone() override;
  // Whether gRPC runs these two where it finds the call cancelled or done: perhaps within an operation on
  // another call, whose caller holds locks. Otherwise it wakes a thread of its executor, which takes
  // longer than all they do. Only the release of a claim needs that, because it asks the store.
  bool InternalInlineable() override;

 private:
  void End(grpc::Status status);

  CallRecord record_;
  const int item_count_;
  std::shared_ptr<ClaimHandle> claim_;
  grpc::CallbackServerContext* context_ = nullptr;  // of calls that return payloads
  std::optional<OpenCall> open_call_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace mayfly
