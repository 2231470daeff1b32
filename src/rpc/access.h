// Which role may call which RPC, and which RPCs are still served while the server drains.
//
//   RPC               client  worker  operator  monitor   while draining
//   PutInputs            x                                 rejected
//   GetInputs                    x                         rejected
//   PutOutputs                   x                         rejected
//   ClaimOutputs         x                                 rejected
//   AckOutputs           x                                 served
//   ReleaseOutputs       x                                 served
//   RenewClaims          x                                 served
//   DescribeCalls        x       x         x               served
//   DeleteCalls          x                                 served
//   Upload               inputs  outputs                   rejected
//   QueryUpload          x       x                         rejected
//   Download             outputs inputs                    rejected
//   Session              x       x         x               served, each request as its own RPC
//     a subscription     x                                 rejected
//   GetServerInfo        x       x         x        x      served
#pragma once

#include <string>

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
  kSubscribe,
  kSession,
  kGetServerInfo,
};

// The name in the proto: "PutInputs".
absl::string_view RpcName(Rpc rpc);

bool MayCall(Role role, Rpc rpc);
// The roles that may, for an error text: "client or worker".
std::string RolesOf(Rpc rpc);

// For RPCs that move payloads of either kind.
bool MayPut(Role role, PayloadKind kind);
bool MayRead(Role role, PayloadKind kind);

bool GoesOnWhileDraining(Rpc rpc);

// Whether the answers to a batch RPC hold payloads.
bool ReturnsPayloads(Rpc rpc);

}  // namespace mayfly
