// A CheckedHandler answers a request that is not a valid message with INVALID_ARGUMENT.
//
// gRPC 1.51 answers it with UNIMPLEMENTED, which tells clients that the server does not know the
// method. This class wraps gRPC's own handler of the method, and runs `refusal`, a handler of the
// same type, when the request cannot be parsed. It is for methods with a single request: in a
// request stream, gRPC does not distinguish a malformed message from the end of the stream.
#pragma once

#include <memory>
#include <utility>

#include <grpcpp/support/server_callback.h>

namespace mayfly {

class CheckedHandler final : public grpc::internal::MethodHandler {
 public:
  CheckedHandler(std::unique_ptr<grpc::internal::MethodHandler> handler,
                 std::unique_ptr<grpc::internal::MethodHandler> refusal)
      : handler_(std::move(handler)), refusal_(std::move(refusal)) {}

  void RunHandler(const HandlerParameter& parameter) override {
    if (parameter.status.ok()) return handler_->RunHandler(parameter);
    refusal_->RunHandler(HandlerParameter(parameter.call, parameter.server_context,
                                          parameter.request, grpc::Status::OK,
                                          parameter.internal_data, parameter.call_requester));
  }

  void* Deserialize(grpc_call* call, grpc_byte_buffer* request, grpc::Status* status,
                    void** handler_data) override {
    return handler_->Deserialize(call, request, status, handler_data);
  }

 private:
  const std::unique_ptr<grpc::internal::MethodHandler> handler_;
  const std::unique_ptr<grpc::internal::MethodHandler> refusal_;
};

}  // namespace mayfly
