// Makes gRPC accept a binary header that is not Base64, so that it affects no other call.
//
// A header whose name ends in "-bin" is Base64-encoded on the wire. When it is malformed, gRPC 1.51
// ends the whole connection, so one caller on a shared connection fails all others. The program's
// own definition of the decoder replaces the library's (symbol interposition, ld.so(8)): it passes
// malformed values on unchanged. Mayfly reads no binary header.
#pragma once

#include "absl/status/status.h"

namespace mayfly {

// FAILED_PRECONDITION when gRPC does not use this decoder.
absl::Status TolerateMalformedBinaryMetadata();

}  // namespace mayfly
