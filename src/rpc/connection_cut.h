// Cuts a connection of this process whose write under way must not reach its reader: gRPC 1.51 has
// no call for it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"

namespace mayfly {

// By their peers' names in gRPC, "ipv4:127.0.0.1:40022" or "ipv6:%5B::1%5D:40022": how many bytes
// each has acknowledged, of those connections whose buffer in the kernel is full.
using FullConnections = absl::flat_hash_map<std::string, uint64_t>;

// Tells connections that stand still from those that are only full at the moment, as a busy one is
// most of the time.
class StallWatch {
 public:
  // The next look. Returns whose connections were full at the last one too, and have acknowledged
  // nothing since.
  std::vector<std::string> StalledOf(FullConnections full);

 private:
  FullConnections last_;
};

// Each costs a few system calls for every open file. Thread-safe.

// Those of `peers` whose connection is full now.
FullConnections FindFullConnections(absl::Span<const std::string> peers);

// Shuts down the TCP connections to these peers. What the kernel has in its buffer may still go;
// what gRPC has does not.
void CutConnections(absl::Span<const std::string> peers);

}  // namespace mayfly
