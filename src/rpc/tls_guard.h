// Puts a FrameGuard in front of gRPC's HTTP/2 parser, on every TLS connection that this process
// serves.
//
// gRPC has no hook between TLS and its parser. But the program's own definition of a function
// replaces a shared library's (symbol interposition, ld.so(8)), and gRPC reads decrypted bytes with
// SSL_read. The program's SSL_read calls OpenSSL's and passes the bytes to the connection's guard.
#pragma once

#include <cstddef>

#include "absl/status/status.h"

namespace mayfly {

// Activates the guard: it ends a connection whose client sends a header block larger than
// `metadata_bytes_max` can need, or resets calls too fast. FAILED_PRECONDITION if gRPC does not
// read through the guard.
absl::Status GuardFrames(size_t metadata_bytes_max);

}  // namespace mayfly
