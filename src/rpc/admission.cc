#include "rpc/admission.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <grpc/grpc_security_constants.h>

#include "base/error.h"
#include "rpc/range_check.h"

namespace mayfly {
namespace {

constexpr absl::Duration kStartingRetryDelay = absl::Milliseconds(200);

absl::Status RoleRefusedError(Role role, absl::string_view operation, absl::string_view required) {
  absl::Status status = MakeError(absl::StatusCode::kPermissionDenied, Reason::kRoleRequired,
                                  absl::StrCat("role ", RoleName(role), " may not call ", operation,
                                               "; a certificate with the role ", required, " may"));
  return WithMetadata(WithMetadata(std::move(status), "role", RoleName(role)), "required_role",
                      required);
}

absl::Status CheckRole(Role role, Rpc rpc) {
  return MayCall(role, rpc) ? absl::OkStatus() : RoleRefusedError(role, RpcName(rpc), RolesOf(rpc));
}

}  // namespace

absl::Status KindRefusedError(Role role, Rpc rpc, PayloadKind kind) {
  const Role other = role == Role::kClient ? Role::kWorker : Role::kClient;
  return RoleRefusedError(
      role, absl::StrCat(RpcName(rpc), " for ", kind == PayloadKind::kInput ? "inputs" : "outputs"),
      RoleName(other));
}

PeerChain PeerChainOf(const grpc::AuthContext& context) {
  const auto first = [&context](const char* property) -> absl::string_view {
    const std::vector<grpc::string_ref> values = context.FindPropertyValues(property);
    if (values.empty()) return {};
    return {values[0].data(), values[0].size()};
  };
  return {.certificate = first(GRPC_X509_PEM_CERT_PROPERTY_NAME),
          .intermediates = first(GRPC_X509_PEM_CERT_CHAIN_PROPERTY_NAME)};
}

absl::StatusOr<Identity> Authenticate(const grpc::AuthContext& context,
                                      absl::string_view trust_domain) {
  std::vector<absl::string_view> uri_names;
  for (const grpc::string_ref& uri : context.FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME)) {
    uri_names.emplace_back(uri.data(), uri.size());
  }
  return IdentityOf(uri_names, trust_domain);
}

absl::StatusOr<Admitted> Admission::Admit(const grpc::AuthContext& context, Rpc rpc,
                                          const ItemCount& items) {
  const auto caller = AdmitCaller(context, rpc);
  RETURN_IF_ERROR(caller.status());
  RETURN_IF_ERROR(CheckCounts(items));
  auto admitted = ResolveTenant(*caller);
  RETURN_IF_ERROR(admitted.status());
  RETURN_IF_ERROR(TakeRate(admitted->tenant, items.count + items.extra_count));
  return admitted;
}

absl::Status Admission::AdmitRequest(const Admitted& caller, Rpc rpc,
                                     const ItemCount& items) const {
  RETURN_IF_ERROR(CheckRole(caller.role, rpc));
  RETURN_IF_ERROR(CheckDrain(rpc));
  RETURN_IF_ERROR(CheckCounts(items));
  return TakeRate(caller.tenant, items.count + items.extra_count);
}

absl::StatusOr<Admitted> Admission::AdmitCall(const grpc::AuthContext& context, Rpc rpc) {
  const auto caller = AdmitCaller(context, rpc);
  RETURN_IF_ERROR(caller.status());
  return ResolveTenant(*caller);
}

absl::StatusOr<Admission::Caller> Admission::AdmitCaller(const grpc::AuthContext& context,
                                                         Rpc rpc) const {
  const PeerChain chain = PeerChainOf(context);
  RETURN_IF_ERROR(peers_->Check(chain));
  auto identity = Authenticate(context, config_.tls.trust_domain);
  RETURN_IF_ERROR(identity.status());
  RETURN_IF_ERROR(CheckRole(identity->role, rpc));
  CallStore* const store = store_.load(std::memory_order_acquire);
  if (store == nullptr) {
    return WithRetryDelay(MakeError(absl::StatusCode::kUnavailable, Reason::kStarting,
                                    "the server is starting and recovering its data"),
                          kStartingRetryDelay);
  }
  RETURN_IF_ERROR(CheckDrain(rpc));
  return Caller{.identity = *std::move(identity), .store = store, .chain = chain};
}

absl::StatusOr<Admitted> Admission::ResolveTenant(const Caller& caller) const {
  const auto tenant = caller.store->ResolveTenant(caller.identity.tenant);
  RETURN_IF_ERROR(tenant.status());
  return Admitted{.store = caller.store,
                  .tenant = *tenant,
                  .role = caller.identity.role,
                  .chain = caller.chain};
}

absl::Status Admission::CheckDrain(Rpc rpc) const {
  const bool drains = draining_.load(std::memory_order_acquire);
  return drains && !GoesOnWhileDraining(rpc) ? DrainingError() : absl::OkStatus();
}

absl::Status Admission::CheckCounts(const ItemCount& items) const {
  RETURN_IF_ERROR(CheckCount(items.field, items.count, /*count_min=*/1));
  return CheckCount(items.extra_field, items.extra_count);
}

absl::Status Admission::CheckCount(absl::string_view field, int count, int count_min) const {
  return CheckLength(field, count,
                     {.min = static_cast<uint64_t>(count_min),
                      .max = config_.limits.batch_items_max,
                      .unit = "items"});
}

absl::Status Admission::TakeRate(Tenant* tenant, int64_t item_count) const {
  if (!tenant->ledger.has_rate_limit()) return absl::OkStatus();
  return tenant->ledger.TakeOperations(item_count, clock_->Read().boottime);
}

}  // namespace mayfly
