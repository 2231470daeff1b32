// Cuts a connection of this process whose write under way must not reach its reader: gRPC 1.51 has
// no call for it.
#pragma once

#include "absl/strings/string_view.h"

namespace mayfly {

// Shuts down every TCP connection to `peer`, named as gRPC does: "ipv4:127.0.0.1:40022" or
// "ipv6:%5B::1%5D:40022". What the kernel has in its buffer may still go; what gRPC has does not.
// Costs two system calls for each open file. Thread-safe.
void CutConnectionTo(absl::string_view peer);

}  // namespace mayfly
