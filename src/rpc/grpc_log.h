// What gRPC has to say goes to the server's log instead of standard error. A line for every handshake
// that fails is one for whoever can connect, as often as they like: so their number is limited.
#pragma once

#include <cstdint>

#include "absl/time/time.h"

#include "rpc/log.h"

namespace mayfly {

// Not thread-safe.
class LineLimit {
 public:
  static constexpr int kLinesMax = 10;  // in each
  static constexpr absl::Duration kInterval = absl::Seconds(1);

  // Whether a line may be written at `now`, a time that does not go back.
  bool Take(absl::Duration now);
  // How many were not since the last call that had any to tell of, once their interval is over.
  int64_t LeftOut(absl::Duration now);

 private:
  absl::Duration since_ = -absl::InfiniteDuration();
  int64_t lines_ = 0;
  int64_t left_out_ = 0;
};

// gRPC has one log per process. Null drops what it says: to be set before `log` goes.
void SendGrpcLogTo(Log* log);

}  // namespace mayfly
