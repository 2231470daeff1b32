// A probe of the server: one TLS handshake of our own, to find out why gRPC makes no connection.
//
// gRPC says of a refused handshake that the socket was closed. OpenSSL tells what is wrong with the
// server's certificate, and a server that hangs up behind a finished handshake refuses ours.
#pragma once

#include <string>

#include "absl/status/status.h"

#include "client/server_address.h"
#include "client/tls_files.h"
#include "mayfly/client_options.h"

namespace mayfly::client {

// Blocks for some seconds at most. OK: a connection comes about. UNAVAILABLE: the server cannot be
// reached. UNAUTHENTICATED: the server's certificate cannot be trusted, or the server refuses ours.
// `options` gives the names of the files for the error.
absl::Status ProbeServer(const ServerAddress& address, const TlsTexts& texts,
                         const ClientOptions& options);

}  // namespace mayfly::client
