// The server's time, as far as this process knows it.
//
// Call ids have the time at which they were minted, and a server rejects ids whose time is too far
// from its own. Its refusal says how far, and so what time it is there. Thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace mayfly::client {

// This machine's time until a refusal has told the server's.
absl::Time ServerTime();

// Learns from the error of a put with this call id. False if that is not a refusal for its time.
bool LearnServerTime(const std::string& call_id, const absl::Status& status);

}  // namespace mayfly::client
