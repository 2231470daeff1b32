// Cuts a connection of this process when its write in flight must not reach the client. gRPC 1.51
// has no function for that.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"

namespace mayfly {

// Connections whose send buffer in the kernel is full, by the peer's name in gRPC
// ("ipv4:127.0.0.1:40022" or "ipv6:%5B::1%5D:40022"), with the number of bytes acknowledged.
using FullConnections = absl::flat_hash_map<std::string, uint64_t>;

// Distinguishes stalled connections from those that are only full at the moment, as a busy one is
// most of the time.
class StallWatch {
 public:
  // Takes the next sample. Returns the peers whose connections were also full in the previous
  // sample and have acknowledged nothing since.
  std::vector<std::string> StalledOf(FullConnections full);

 private:
  FullConnections last_;
};

// The functions below make a few system calls per open file. Thread-safe.

// The connections of `peers` that are full now.
FullConnections FindFullConnections(absl::Span<const std::string> peers);

// Shuts down the TCP connections to these peers. Data in the kernel's buffer may still be sent;
// data in gRPC is dropped.
void CutConnections(absl::Span<const std::string> peers);

}  // namespace mayfly
