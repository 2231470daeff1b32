// What the copies of a Client share: one connection, and how to use it. Thread-safe.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include <grpcpp/channel.h>
#include <grpcpp/security/credentials.h>

#include "mayfly/client_options.h"
#include "mayfly/v1/function_io.grpc.pb.h"

namespace mayfly::client {

class Core {
 public:
  using AsyncStub = v1::FunctionIo::StubInterface::async_interface;

  // Connects on first use.
  Core(std::shared_ptr<grpc::ChannelCredentials> credentials, const ClientOptions& options);

  AsyncStub* stub() const { return stub_->async(); }
  const ClientOptions& options() const { return options_; }

 private:
  const ClientOptions options_;
  const std::unique_ptr<v1::FunctionIo::StubInterface> stub_;
};

// INVALID_ARGUMENT, naming the field, when an option is out of its range.
absl::Status CheckOptions(const ClientOptions& options);

// From the PEM files. INVALID_ARGUMENT when one cannot be read or holds no PEM.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ReadCredentials(
    const ClientOptions& options);

}  // namespace mayfly::client
