#include "rpc/access.h"

#include <array>

namespace mayfly {
namespace {

constexpr unsigned kClient = 1u << static_cast<int>(Role::kClient);
constexpr unsigned kWorker = 1u << static_cast<int>(Role::kWorker);
constexpr unsigned kOperator = 1u << static_cast<int>(Role::kOperator);

struct Access {
  absl::string_view name;
  unsigned roles;
  bool while_draining;
};

// In the order of the enum.
constexpr std::array<Access, 14> kAccess = {{
    {"PutInputs", kClient, false},
    {"GetInputs", kWorker, false},
    {"PutOutputs", kWorker, false},
    {"ClaimOutputs", kClient, false},
    {"AckOutputs", kClient, true},
    {"ReleaseOutputs", kClient, true},
    {"RenewClaims", kClient, true},
    {"DescribeCalls", kClient | kWorker | kOperator, true},
    {"DeleteCalls", kClient, true},
    {"Upload", kClient | kWorker, false},
    {"QueryUpload", kClient | kWorker, false},
    {"Download", kClient | kWorker, false},
    {"StreamOutputs", kClient, false},
    {"StreamPuts", kClient | kWorker, false},
}};

const Access& AccessTo(Rpc rpc) { return kAccess[static_cast<size_t>(rpc)]; }

}  // namespace

absl::string_view RpcName(Rpc rpc) { return AccessTo(rpc).name; }

bool MayCall(Role role, Rpc rpc) {
  return (AccessTo(rpc).roles & 1u << static_cast<int>(role)) != 0;
}

bool MayPut(Role role, PayloadKind kind) {
  return role == (kind == PayloadKind::kInput ? Role::kClient : Role::kWorker);
}

bool MayRead(Role role, PayloadKind kind) {
  return role == (kind == PayloadKind::kInput ? Role::kWorker : Role::kClient);
}

bool GoesOnWhileDraining(Rpc rpc) { return AccessTo(rpc).while_draining; }

}  // namespace mayfly
