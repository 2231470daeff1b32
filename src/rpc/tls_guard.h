// Puts a FrameGuard before gRPC's HTTP/2 parser, on every TLS connection that this process serves.
//
// There is no hook between gRPC's TLS and its parser. But the program's own definition of a function
// takes the place of a shared library's (symbol interposition, ld.so(8)), and gRPC reads what it has
// decrypted with SSL_read: ours calls OpenSSL's and shows the bytes to the connection's guard.
#pragma once

#include <cstddef>

#include "absl/status/status.h"

namespace mayfly {

// From here on a connection whose client sends a header block larger than `metadata_bytes_max` can
// need, or resets calls too fast, is ended. FAILED_PRECONDITION when gRPC would not read through the guard.
absl::Status GuardFrames(size_t metadata_bytes_max);

}  // namespace mayfly
