#include "identity/identity.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "base/error.h"

namespace mayfly {
namespace {

absl::StatusOr<Identity> Parse(absl::string_view uri) {
  const absl::string_view names[] = {uri};
  return IdentityOf(names, "mayfly.local");
}

TEST(Identity, NamesTenantAndRole) {
  const struct {
    const char* word;
    Role role;
  } roles[] = {{"client", Role::kClient},
               {"worker", Role::kWorker},
               {"operator", Role::kOperator},
               {"monitor", Role::kMonitor}};
  for (const auto& [word, role] : roles) {
    const auto identity = Parse(absl::StrCat("spiffe://mayfly.local/tenant/acme-7/", word));
    ASSERT_TRUE(identity.ok()) << word;
    EXPECT_EQ(*identity, (Identity{.tenant = "acme-7", .role = role}));
    EXPECT_EQ(RoleName(role), word);
  }
}

TEST(Identity, RefusesEverythingElse) {
  const std::string long_tenant(64, 'a');
  const std::string cases[] = {
      "",
      "spiffe://",
      "spiffe://mayfly.local",
      "spiffe://mayfly.local/",
      "spiffe://mayfly.local/tenant",
      "spiffe://mayfly.local/tenant/acme",
      "spiffe://mayfly.local/tenant/acme/",
      "spiffe://mayfly.local/tenant//client",
      "spiffe://mayfly.local//tenant/acme/client",
      "spiffe://mayfly.local/tenant/acme/client/",
      "spiffe://mayfly.local/tenant/acme/client/more",
      "spiffe://mayfly.local/tenant/acme/Client",
      "spiffe://mayfly.local/tenant/acme/clients",
      "spiffe://mayfly.local/tenant/acme/client?a=b",
      "spiffe://mayfly.local/tenant/acme/client#a",
      "spiffe://mayfly.local/tenant/acme/client ",
      " spiffe://mayfly.local/tenant/acme/client",
      std::string("spiffe://mayfly.local/tenant/acme/client\0", 41),
      std::string("spiffe://mayfly.local/tenant/ac\0me/client", 41),
      "spiffe://mayfly.local/Tenant/acme/client",
      "spiffe://mayfly.local/tenants/acme/client",
      "spiffe://mayfly.local/tenant/Acme/client",
      "spiffe://mayfly.local/tenant/-acme/client",
      "spiffe://mayfly.local/tenant/a%63me/client",
      "spiffe://mayfly.local/tenant/../client",
      "spiffe://mayfly.local/tenant/" + long_tenant + "/client",
      "spiffe://MAYFLY.local/tenant/acme/client",
      "spiffe://mayfly.local:443/tenant/acme/client",
      "spiffe://user@mayfly.local/tenant/acme/client",
      "spiffe://mayfly.local.evil/tenant/acme/client",
      "spiffe://evil.mayfly.local/tenant/acme/client",
      "spiffe:///tenant/acme/client",
      "SPIFFE://mayfly.local/tenant/acme/client",
      "https://mayfly.local/tenant/acme/client",
      "mayfly.local/tenant/acme/client",
  };
  for (const std::string& uri : cases) {
    const auto identity = Parse(uri);
    EXPECT_EQ(identity.status().code(), absl::StatusCode::kUnauthenticated) << uri;
    EXPECT_EQ(ReasonOf(identity.status()), Reason::kIdentityInvalid) << uri;
  }
}

TEST(Identity, NeedsExactlyOneName) {
  const absl::string_view good = "spiffe://mayfly.local/tenant/acme/client";
  const std::vector<absl::string_view> none, one = {good}, two = {good, good};
  EXPECT_FALSE(IdentityOf(none, "mayfly.local").ok());
  EXPECT_TRUE(IdentityOf(one, "mayfly.local").ok());
  EXPECT_FALSE(IdentityOf(two, "mayfly.local").ok());
  EXPECT_FALSE(IdentityOf(one, "mayfly.loca").ok());
}

}  // namespace
}  // namespace mayfly
