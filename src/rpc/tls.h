// Restricts gRPC to TLS 1.3 with client certificates.
//
// gRPC 1.51 has no option for the minimum version and overrides OpenSSL's own setting. It cannot
// override the process-wide ssl_conf of OpenSSL's configuration (config(5), "SSL configuration"),
// so that requires 1.3, set before the first SSL_CTX. Because this depends on the internals of two
// libraries, ConfigureTls checks a fresh SSL_CTX.
//
// The same configuration disables session tickets and thus resumption: a resumed session would
// reuse the client's certificate of an earlier handshake without verifying it again.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include <grpcpp/security/server_credentials.h>

#include "rpc/tls_files.h"

namespace mayfly {

// Disables all versions below TLS 1.3 and session resumption in this process. Call before anything
// uses TLS. FAILED_PRECONDITION if the setting has no effect in OpenSSL.
absl::Status ConfigureTls();

// Credentials that require a client certificate of a CA in `tls.ca_file`. They read the copies of
// `files`, which must outlive the server.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const TlsFiles& files);

}  // namespace mayfly
