#include "rpc/admission.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include <grpc/grpc_security_constants.h>

#include "base/error.h"

namespace mayfly {
namespace {

absl::Status Unavailable(Reason reason, absl::string_view text) {
  return MakeError(absl::StatusCode::kUnavailable, reason, text);
}

}  // namespace

absl::Status KindRefusedError(Role role, Rpc rpc, PayloadKind kind) {
  return MakeError(absl::StatusCode::kPermissionDenied, Reason::kRoleRequired,
                   absl::StrCat("role ", RoleName(role), " may not call ", RpcName(rpc), " for ",
                                kind == PayloadKind::kInput ? "inputs" : "outputs"));
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
  const auto identity = Authenticate(context, config_.tls.trust_domain);
  RETURN_IF_ERROR(identity.status());
  if (!MayCall(identity->role, rpc)) {
    return MakeError(
        absl::StatusCode::kPermissionDenied, Reason::kRoleRequired,
        absl::StrCat("role ", RoleName(identity->role), " may not call ", RpcName(rpc)));
  }
  CallStore* const store = store_.load(std::memory_order_acquire);
  if (store == nullptr) {
    return Unavailable(Reason::kStarting, "the server is starting and recovers its data");
  }
  if (draining_.load(std::memory_order_acquire) && !GoesOnWhileDraining(rpc)) {
    return Unavailable(Reason::kDraining, "the server is shutting down");
  }
  const int items_max = static_cast<int>(config_.limits.batch_items_max);
  if (items.count < 1 || items.count > items_max) {
    return FieldError(items.field, absl::StrCat(items.count, " long"),
                      absl::StrCat("range is 1 to ", items_max));
  }
  if (items.extra_count > items_max) {
    return FieldError(items.extra_field, absl::StrCat(items.extra_count, " long"),
                      absl::StrCat("range is 0 to ", items_max));
  }
  const auto tenant = store->ResolveTenant(identity->tenant);
  RETURN_IF_ERROR(tenant.status());
  const uint64_t rate = (*tenant)->limits.operations_per_second_max;
  if (rate > 0) {
    const auto operations = static_cast<uint64_t>(items.count + items.extra_count);
    RETURN_IF_ERROR(rate_limiter_.Take((*tenant)->name, rate, operations, clock_->Read().boottime));
  }
  return Admitted{.store = store, .tenant = *tenant, .role = identity->role};
}

}  // namespace mayfly
