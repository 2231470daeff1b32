#include "identity/identity.h"

#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "base/error.h"
#include "base/tenant.h"

namespace mayfly {
namespace {

constexpr Role kRoles[] = {Role::kClient, Role::kWorker, Role::kOperator, Role::kMonitor};

absl::Status Invalid(absl::string_view what) {
  return MakeError(absl::StatusCode::kUnauthenticated, Reason::kIdentityInvalid, what);
}

std::optional<Role> RoleOf(absl::string_view name) {
  for (const Role role : kRoles) {
    if (RoleName(role) == name) return role;
  }
  return std::nullopt;
}

}  // namespace

absl::string_view RoleName(Role role) {
  switch (role) {
    case Role::kClient:
      return "client";
    case Role::kWorker:
      return "worker";
    case Role::kOperator:
      return "operator";
    case Role::kMonitor:
      return "monitor";
  }
  return "";
}

absl::StatusOr<Identity> IdentityOf(absl::Span<const absl::string_view> uri_names,
                                    absl::string_view trust_domain) {
  if (uri_names.size() != 1) {
    return Invalid(absl::StrCat("the certificate has ", uri_names.size(),
                                " URI subject alternative names, expected 1"));
  }
  absl::string_view path = uri_names[0];
  if (!absl::ConsumePrefix(&path, "spiffe://")) {
    return Invalid("the certificate's URI does not begin with spiffe://");
  }
  if (!absl::ConsumePrefix(&path, trust_domain) || !absl::ConsumePrefix(&path, "/")) {
    return Invalid("the certificate belongs to another trust domain");
  }
  const std::vector<absl::string_view> segments = absl::StrSplit(path, '/');
  if (segments.size() != 3 || segments[0] != "tenant") {
    return Invalid("the path of the certificate's URI is not /tenant/TENANT/ROLE");
  }
  if (!IsTenantName(segments[1])) {
    return Invalid("the certificate's tenant is not 1 to 63 of a-z, 0-9 and '-'");
  }
  const std::optional<Role> role = RoleOf(segments[2]);
  if (!role.has_value()) {
    return Invalid("the certificate's role is not one of client, worker, operator, monitor");
  }
  return Identity{.tenant = std::string(segments[1]), .role = *role};
}

}  // namespace mayfly
