// TLS 1.3 with client certificates, or nothing.
//
// gRPC 1.51 has no setter for the lowest version and overrides OpenSSL's own. What it cannot
// override is the process-wide ssl_conf of OpenSSL's configuration (config(5), "SSL
// configuration"), so that is where 1.3 is required, before the first SSL_CTX; and since this rests
// on the inside of two libraries, a fresh SSL_CTX is asked whether it took.
//
// The same place forbids session tickets, and with them resumption: a resumed session would carry
// the client's certificate on from an earlier handshake without judging it again.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include <grpcpp/security/server_credentials.h>

#include "rpc/tls_files.h"

namespace mayfly {

// Forbids everything below TLS 1.3, and resumption of sessions, in this process. To be called before
// anything uses TLS. FAILED_PRECONDITION when OpenSSL does not obey.
absl::Status ConfigureTls();

// Credentials that demand a client certificate of a CA in `tls.ca_file`, by the copies that `files`
// holds, which outlive the server.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const TlsFiles& files);

}  // namespace mayfly
