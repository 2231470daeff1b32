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
#pragma once

#include "absl/strings/string_view.h"

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
};

// As in the proto: "PutInputs".
absl::string_view RpcName(Rpc rpc);

bool MayCall(Role role, Rpc rpc);

bool GoesOnWhileDraining(Rpc rpc);

}  // namespace mayfly
