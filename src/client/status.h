// Converts the errors of the protocol to absl::Status, with reason and retry delay.
#pragma once

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"
#include <grpcpp/support/status.h>

namespace mayfly::client {

// The status of an item. Ignores ErrorInfo of other domains than "mayfly", and reasons that this
// version does not know; code and text remain.
absl::Status StatusFromProto(const google::rpc::Status& status);

// The status of an RPC. Its details are a google.rpc.Status in the trailer grpc-status-details-bin.
absl::Status StatusFromGrpc(const grpc::Status& status);

}  // namespace mayfly::client
