#include "rpc/unary_call.h"

#include "rpc/status.h"

namespace mayfly {

UnaryCall::UnaryCall(Rpc rpc, int item_count, InFlight* in_flight, Log* log, Clock* clock)
    : rpc_(rpc),
      item_count_(item_count),
      in_flight_(in_flight),
      log_(log),
      clock_(clock),
      is_logged_(log->Shows(Config::LogLevel::kDebug)),
      begun_(is_logged_ ? clock->Read().boottime : absl::ZeroDuration()) {
  in_flight_->Enter();
}

void UnaryCall::FinishWith(const absl::Status& status) {
  const grpc::Status wire = ToGrpcStatus(status, log_);
  if (is_logged_) WriteLine(wire);
  Finish(wire);
}

void UnaryCall::FinishCancelled() {
  if (is_logged_) WriteLine(grpc::Status::CANCELLED);
  Finish(grpc::Status::CANCELLED);
}

void UnaryCall::OnCancel() {
  // Everything else is answered soon anyway. A cancelled claim still calls back, once, and that is
  // what finishes the call: finishing it here would leave the callback with a call that is gone.
  if (claim_ != nullptr) claim_->Cancel();
}

void UnaryCall::WriteLine(const grpc::Status& status) const {
  log_->Write(Config::LogLevel::kDebug, "rpc",
              {{"rpc", RpcName(rpc_)},
               {"tenant", absl::string_view(tenant_)},
               {"items", item_count_},
               {"code", status.error_code()},
               {"duration_us", absl::ToInt64Microseconds(clock_->Read().boottime - begun_)}});
}

}  // namespace mayfly
