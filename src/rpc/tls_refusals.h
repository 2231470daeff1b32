// Makes the server's log say why the certificate of a client was rejected at the handshake.
//
// OpenSSL's error is "certificate verify failed" for every cause, and gRPC logs no more than that. As
// in tls_guard.h, our definition of a function takes the place of OpenSSL's: when SSL_do_handshake has
// failed on a client's certificate, it replaces the error by one whose text has the cause.
#pragma once

#include "absl/status/status.h"

namespace mayfly {

// From here on. FAILED_PRECONDITION when gRPC would not shake hands through it.
absl::Status ExplainTlsRefusals();

}  // namespace mayfly
