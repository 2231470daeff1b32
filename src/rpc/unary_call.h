// A UnaryCall is one RPC in flight: it finishes once, writes a line for the log at level debug, and
// deletes itself when gRPC is done with it.
//
// Only the store's callback finishes it, a cancelled claim's too. A claim whose answer was cancelled
// before it had left the server is released. One that answers with payloads, or waits for them, is an
// OpenCall. Thread-safe.
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
  // All outlive the call.
  UnaryCall(Rpc rpc, int item_count, InFlight* in_flight, Log* log, Clock* clock);

  // Who is calling, for the log.
  void set_tenant(const std::string& name) { record_.set_tenant(name); }
  // It will hold payloads: the taker is the call's.
  PayloadTaker* Open(OpenCalls* open_calls, grpc::CallbackServerContext* context,
                     const Admitted& admitted);
  // What to cancel with the call. To be set before the call is handed to gRPC.
  void set_claim(std::shared_ptr<ClaimHandle> claim) { claim_ = std::move(claim); }

  // End the RPC; nothing of it may be touched afterwards.
  void FinishWith(const absl::Status& status);
  void FinishCancelled();

  void OnCancel() override;
  void OnDone() override;

 private:
  void End(grpc::Status status);

  CallRecord record_;
  const int item_count_;
  std::shared_ptr<ClaimHandle> claim_;
  std::optional<OpenCall> open_call_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace mayfly
