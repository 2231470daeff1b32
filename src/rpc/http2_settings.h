// Sets the HTTP/2 limits that gRPC applies to clients before they acknowledge the server's
// settings.
//
// A server's SETTINGS bind a client once it has acknowledged them (RFC 9113, section 6.5.3). Until
// then gRPC applies defaults: 16 MiB of headers per call and any number of calls. A client that
// never acknowledges keeps these defaults for ever. gRPC has no option for them, but reads them
// from a table that its library exports. The program's own definition replaces that table (symbol
// interposition, ld.so(8)).
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace mayfly {

// Call before the server is built. FAILED_PRECONDITION if gRPC does not read this table.
absl::Status SetHttp2Defaults(uint64_t metadata_bytes_max, uint64_t streams_max);

}  // namespace mayfly
