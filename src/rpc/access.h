// Which role may call which RPC, and what goes on while the server drains.
//
//   RPC               client  worker  operator  monitor   while draining
//   PutInputs            x                                 refused
//   GetInputs                    x                         refused
//   PutOutputs                   x                         refused
//   ClaimOutputs         x                                 refused
//   AckOutputs           x                                 goes on
//   ReleaseOutputs       x                                 goes on
//   RenewClaims          x                                 goes on
//   DescribeCalls        x       x         x               goes on
//   DeleteCalls          x                                 goes on
//   Upload, StreamPuts   inputs  outputs                   refused
//   QueryUpload          x       x                         refused
//   Download             outputs inputs                    refused
//   StreamOutputs        x                                 refused
#pragma once

#include "absl/strings/string_view.h"

#include "call/state.h"
#include "identity/identity.h"

namespace mayfly {

enum class Rpc {
  kPutInputs,
  kGetInputs,
  kPutOutputs,
  kClaimOutputs,
  kAckOutputs,
  kReleaseOutputs,
  kRenewClaims,
  kDescribeCalls,
  kDeleteCalls,
  kUpload,
  kQueryUpload,
  kDownload,
  kStreamOutputs,
  kStreamPuts,
};

// As in the proto: "PutInputs".
absl::string_view RpcName(Rpc rpc);

bool MayCall(Role role, Rpc rpc);

// For RPCs that move payloads of either kind.
bool MayPut(Role role, PayloadKind kind);
bool MayRead(Role role, PayloadKind kind);

bool GoesOnWhileDraining(Rpc rpc);

}  // namespace mayfly
