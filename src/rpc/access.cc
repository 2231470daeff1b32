#include "rpc/access.h"

#include <array>
#include <vector>

#include "absl/strings/str_join.h"

namespace mayfly {
namespace {

constexpr unsigned kClient = 1u << static_cast<int>(Role::kClient);
constexpr unsigned kWorker = 1u << static_cast<int>(Role::kWorker);
constexpr unsigned kOperator = 1u << static_cast<int>(Role::kOperator);
constexpr unsigned kMonitor = 1u << static_cast<int>(Role::kMonitor);

struct Access {
  absl::string_view name;
  unsigned roles;
  bool while_draining;
};

// In the order of the enum.
constexpr std::array<Access, 15> kAccess = {{
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
    {"Subscribe", kClient, false},
    {"Session", kClient | kWorker | kOperator, true},
    {"GetServerInfo", kClient | kWorker | kOperator | kMonitor, true},
}};

const Access& AccessTo(Rpc rpc) { return kAccess[static_cast<size_t>(rpc)]; }

}  // namespace

absl::string_view RpcName(Rpc rpc) { return AccessTo(rpc).name; }

bool MayCall(Role role, Rpc rpc) {
  return (AccessTo(rpc).roles & 1u << static_cast<int>(role)) != 0;
}

std::string RolesOf(Rpc rpc) {
  std::vector<absl::string_view> names;
  for (const Role role : {Role::kClient, Role::kWorker, Role::kOperator, Role::kMonitor}) {
    if (MayCall(role, rpc)) names.push_back(RoleName(role));
  }
  return absl::StrJoin(names, " or ");
}

bool MayPut(Role role, PayloadKind kind) {
  return role == (kind == PayloadKind::kInput ? Role::kClient : Role::kWorker);
}

bool MayRead(Role role, PayloadKind kind) {
  return role == (kind == PayloadKind::kInput ? Role::kWorker : Role::kClient);
}

bool GoesOnWhileDraining(Rpc rpc) { return AccessTo(rpc).while_draining; }

bool ReturnsPayloads(Rpc rpc) { return rpc == Rpc::kGetInputs || rpc == Rpc::kClaimOutputs; }

}  // namespace mayfly
