// Sends gRPC's log to the server's log instead of standard error. gRPC logs every failed handshake,
// and anybody on the network can cause those at any rate. So the number of lines is limited.
#pragma once

#include <cstdint>

#include "absl/time/time.h"

#include "rpc/log.h"

namespace mayfly {

// Not thread-safe.
class LineLimit {
 public:
  static constexpr int kLinesMax = 10;  // per interval
  static constexpr absl::Duration kInterval = absl::Seconds(1);

  // Whether a line may be written at `now`, which must not decrease.
  bool Take(absl::Duration now);
  // The number of suppressed lines since the last call that returned any, once their interval is
  // over.
  int64_t LeftOut(absl::Duration now);

 private:
  absl::Duration since_ = -absl::InfiniteDuration();
  int64_t lines_ = 0;
  int64_t left_out_ = 0;
};

// gRPC has one log per process. Null drops its lines; set it before `log` is destroyed.
void SendGrpcLogTo(Log* log);

}  // namespace mayfly
