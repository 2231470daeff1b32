// The workload of every peer, and its payloads.
//
// A life is put input, get input, put output, take output, end. A lane has one batch of lives under
// way at a time, and all steps of a batch follow each other; lanes are independent of each other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace mayfly::peers {

struct Workload {
  size_t payload_bytes = 1024;
  uint32_t batch_calls = 1;
  uint32_t lanes = 1;
  uint32_t connections = 1;  // to each role of a server that has roles
  bool acks_ride = false;    // Mayfly: on the next claim, instead of an RPC of their own
  bool by_session = false;   // Mayfly: requests on one Session per role and connection
  int64_t warm_up_ns = 0;
  int64_t measure_ns = 0;
};

// Monotonic.
int64_t NowNs();

// CPU time of this process, all threads.
double CpuSeconds();

// Ends the process: a figure with an error in it is no figure.
[[noreturn]] void Die(absl::string_view message);

std::string ReadFileOrDie(const std::string& path);

// Random bytes, the same for all peers: payloads are slices of one pool, at places that differ from
// life to life. Thread-safe.
class PayloadPool {
 public:
  explicit PayloadPool(size_t payload_bytes);

  absl::string_view Input(uint64_t life) const { return Slice(2 * life); }
  absl::string_view Output(uint64_t life) const { return Slice(2 * life + 1); }

 private:
  absl::string_view Slice(uint64_t number) const;

  const size_t payload_bytes_;
  std::string bytes_;
  uint64_t places_;
};

// Dies, naming the step, unless the bytes are those that were put.
void CheckEqual(absl::string_view step, absl::string_view received, absl::string_view put);

// The 36-character text of a new UUIDv7 for each call of a batch.
void MintIds(uint32_t count, std::vector<std::string>* ids);

}  // namespace mayfly::peers
