// Cuts a connection of this process whose write under way must not reach its reader: gRPC 1.51 has
// no call for it.
#pragma once

#include <string>

#include "absl/types/span.h"

namespace mayfly {

enum class CutWhen {
  kFull,  // when the kernel's buffer takes nothing more
  kAlways,
};

// Shuts down the TCP connections to these peers, named as gRPC does: "ipv4:127.0.0.1:40022" or
// "ipv6:%5B::1%5D:40022". What the kernel has in its buffer may still go; what gRPC has does not.
// Costs a system call for each open file. Thread-safe.
void CutConnections(absl::Span<const std::string> peers, CutWhen when);

}  // namespace mayfly
