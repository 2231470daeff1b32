#include "rpc/unary_call.h"

#include "rpc/status.h"

namespace mayfly {

UnaryCall::UnaryCall(Rpc rpc, int item_count, InFlight* in_flight, Log* log, Clock* clock)
    : record_(rpc, in_flight, log, clock), item_count_(item_count) {}

PayloadTaker* UnaryCall::Open(OpenCalls* open_calls, grpc::CallbackServerContext* context,
                              const Admitted& admitted) {
  context_ = context;
  open_call_.emplace(open_calls, OpenCall::Kind::kReply);
  open_call_->Open(context->c_call(), admitted.chain, admitted.tenant);
  return &*open_call_;
}

void UnaryCall::FinishWith(const absl::Status& status) {
  End(absl::IsCancelled(status) ? grpc::Status::CANCELLED : ToGrpcStatus(status, record_.log()));
}

void UnaryCall::End(grpc::Status status) {
  if (open_call_.has_value() && !open_call_->BeginWrite()) {
    // Treat it as cancelled: nothing of the response is sent.
    cancelled_ = true;
    status = grpc::Status(grpc::StatusCode::UNAVAILABLE, OpenCalls::kEndedText);
  }
  record_.Write(status, item_count_);
  Finish(status);
}

bool UnaryCall::InternalInlineable() {
  return claim_ == nullptr || !(cancelled_ || context_->IsCancelled());
}

void UnaryCall::OnCancel() {
  cancelled_ = true;
  // All other calls are answered soon anyway. A cancelled claim still calls back once, and that
  // finishes the call. Finishing it here would leave the callback with a dangling call.
  if (claim_ != nullptr) claim_->Cancel();
}

// gRPC calls this after Finish and, if called, OnCancel have returned.
void UnaryCall::OnDone() {
  if (cancelled_ && claim_ != nullptr) claim_->ReleaseAnswer();
  delete this;
}

}  // namespace mayfly
