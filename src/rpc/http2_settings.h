// The HTTP/2 settings that gRPC holds clients to from their first byte on.
//
// What a server announces in its SETTINGS binds a client when it has acknowledged them (RFC 9113,
// section 6.5.3). Until then gRPC goes by defaults: 16 MiB of headers a call and any number of
// calls, and a client that never acknowledges keeps them for ever. gRPC has no option for these
// defaults, but reads them from a table that its library exports; the program's own definition takes
// the table's place (symbol interposition, ld.so(8)).
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace mayfly {

// To be called before the server is built. FAILED_PRECONDITION when gRPC reads another table.
absl::Status SetHttp2Defaults(uint64_t metadata_bytes_max, uint64_t streams_max);

}  // namespace mayfly
