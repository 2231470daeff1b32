// What a claimant is told of a call: its output under a claim, or that there will be none.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"

#include "base/call_id.h"
#include "call/state.h"
#include "store/payload.h"

namespace mayfly {

struct ClaimedOutput {
  CallId call_id;
  StoredPayload stored;
  uint64_t fence = 0;
  int64_t lease_end_ms = 0;
  std::optional<Payload> payload;  // absent when it is larger than bytes_max
  bool acked = false;
};

struct EndedCall {
  CallId call_id;
  absl::Status status;
};

}  // namespace mayfly
