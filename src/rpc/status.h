// Translates errors to the wire. No other code does.
//
// An error with a Reason is sent as it is: its canonical code, its text, and as details
// google.rpc.ErrorInfo {domain "mayfly", metadata} and, if it has a retry delay, google.rpc.RetryInfo. An
// error without a Reason is not meant for clients, because it may quote RocksDB, OpenSSL or a path.
// Its text goes to the log, and the client gets UNAVAILABLE (STORAGE_DOWN), which it may retry.
#pragma once

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"
#include <grpcpp/support/status.h>

#include "rpc/log.h"

namespace mayfly {

// The status of one item.
google::rpc::Status ToWireStatus(const absl::Status& status, Log* log);

// The status of a whole RPC; the details travel as grpc-status-details-bin.
grpc::Status ToGrpcStatus(const absl::Status& status, Log* log);

}  // namespace mayfly
