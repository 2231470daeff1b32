// Who is calling: the tenant and the role that a client certificate names.
//
// The certificate carries exactly one URI subject alternative name, a SPIFFE ID (the SPIFFE-ID
// standard, section 2) of this form, and nothing about it is optional:
//
//   spiffe://<trust domain>/tenant/<tenant>/<client|worker|operator|monitor>
//
// No percent-encoding, no query, no fragment, no port, no trailing slash; case matters. That the
// certificate comes from a CA of ours has been verified by TLS before anything here runs.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace mayfly {

enum class Role { kClient, kWorker, kOperator, kMonitor };

// The role's word in the URI.
absl::string_view RoleName(Role role);

struct Identity {
  std::string tenant;  // IsTenantName holds
  Role role = Role::kMonitor;

  friend bool operator==(const Identity&, const Identity&) = default;
};

// Reads the identity out of a certificate's URI names. UNAUTHENTICATED (IDENTITY_INVALID) when
// there is not exactly one, or it has not the form above.
absl::StatusOr<Identity> IdentityOf(absl::Span<const absl::string_view> uri_names,
                                    absl::string_view trust_domain);

}  // namespace mayfly
