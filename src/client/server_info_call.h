// A ServerInfoCall is one Client::GetServerInfo.
#pragma once

#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

#include "client/convert.h"
#include "client/rpc_call.h"
#include "mayfly/call.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

class ServerInfoCall : public RpcCall<v1::GetServerInfoRequest, v1::GetServerInfoResponse> {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<ServerInfo>)>;

  static void Begin(const std::shared_ptr<Core>& core, const CallOptions& options, Done done) {
    if (IsCancelled(options.cancellation)) {
      return Dispatcher::Post(core->dispatcher(),
                              [done = std::move(done)]() mutable { done(CancelledByCaller()); });
    }
    const auto call = std::make_shared<ServerInfoCall>(core, options, std::move(done));
    call->Start();
    call->CancelWith(options.cancellation);
  }

  ServerInfoCall(const std::shared_ptr<Core>& core_of_client, const CallOptions& options, Done done)
      : RpcCall(core_of_client, {.call = &v1::FunctionIo::StubInterface::AsyncGetServerInfo},
                TimeBudget(TimeoutOf(*core_of_client, options))),
        done_(std::move(done)) {}

 private:
  Next OnResponse(v1::GetServerInfoResponse* response) override {
    info_ = FromProto(*response);
    return Next::kEnd;
  }
  Then OnEnd(const absl::Status& status) override {
    absl::StatusOr<ServerInfo> result = std::move(info_);
    if (!status.ok()) result = status;
    return [done = std::move(done_), result = std::move(result)]() mutable {
      done(std::move(result));
    };
  }

  Done done_;
  ServerInfo info_;
};

}  // namespace mayfly::client
