// Errors as they come off the wire, made into absl::Status with reason and retry delay.
#pragma once

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"
#include <grpcpp/support/status.h>

namespace mayfly::client {

// An item's status. ErrorInfo of other domains than "mayfly" and reasons of later versions are
// passed over: the code and the text remain.
absl::Status StatusFromProto(const google::rpc::Status& status);

// An RPC's status. Its details are a google.rpc.Status in the trailer grpc-status-details-bin.
absl::Status StatusFromGrpc(const grpc::Status& status);

}  // namespace mayfly::client
