// The identity of a caller: the tenant and the role in its client certificate.
//
// The certificate has exactly one URI subject alternative name. It is a SPIFFE ID (the SPIFFE-ID
// standard, section 2) of this form, without optional parts:
//
//   spiffe://<trust domain>/tenant/<tenant>/<client|worker|operator|monitor>
//
// Percent-encoding, query, fragment, port and a trailing slash are not allowed; case matters. TLS
// has already verified that the certificate is from a trusted CA.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace mayfly {

enum class Role { kClient, kWorker, kOperator, kMonitor };

// The name of the role in the URI.
absl::string_view RoleName(Role role);

struct Identity {
  std::string tenant;  // IsTenantName holds
  Role role = Role::kMonitor;

  friend bool operator==(const Identity&, const Identity&) = default;
};

// Reads the identity from a certificate's URI names. UNAUTHENTICATED (IDENTITY_INVALID) if there is
// not exactly one, or it does not have the form above.
absl::StatusOr<Identity> IdentityOf(absl::Span<const absl::string_view> uri_names,
                                    absl::string_view trust_domain);

}  // namespace mayfly
