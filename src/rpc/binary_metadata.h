// Makes gRPC take a binary header that is not Base64 for one call's own affair.
//
// A header whose name ends in "-bin" holds Base64 on the wire. gRPC 1.51 ends the whole connection
// when it does not, and every other call on it fails: one caller of a shared connection breaks its
// neighbours. The program's own definition of the decoding takes the library's place (symbol
// interposition, ld.so(8)): what cannot be decoded is passed on as it came. Mayfly reads no binary
// header.
#pragma once

#include "absl/status/status.h"

namespace mayfly {

// FAILED_PRECONDITION when gRPC decodes in another way.
absl::Status TolerateMalformedBinaryMetadata();

}  // namespace mayfly
