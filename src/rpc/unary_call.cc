#include "rpc/unary_call.h"

#include "rpc/status.h"

namespace mayfly {

UnaryCall::UnaryCall(Rpc rpc, int item_count, InFlight* in_flight, Log* log, Clock* clock)
    : record_(rpc, in_flight, log, clock), item_count_(item_count) {}

void UnaryCall::FinishWith(const absl::Status& status) { End(ToGrpcStatus(status, record_.log())); }

void UnaryCall::FinishCancelled() { End(grpc::Status::CANCELLED); }

void UnaryCall::End(const grpc::Status& status) {
  record_.Write(status, item_count_);
  Finish(status);
}

void UnaryCall::OnCancel() {
  cancelled_ = true;
  // Everything else is answered soon anyway. A cancelled claim still calls back, once, and that is
  // what finishes the call: finishing it here would leave the callback with a call that is gone.
  if (claim_ != nullptr) claim_->Cancel();
}

// gRPC calls it when both Finish and OnCancel, if that came, have returned.
void UnaryCall::OnDone() {
  if (cancelled_ && claim_ != nullptr) claim_->ReleaseAnswer();
  delete this;
}

}  // namespace mayfly
