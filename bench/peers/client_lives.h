// Lives of calls in Mayfly through the C++ client library, which batches concurrent requests: as
// many callers as lanes, each with one call at a time.
#pragma once

#include <nlohmann/json.hpp>

#include "mayfly_lives.h"
#include "workload.h"

namespace mayfly::peers {

// `workload.batch_calls` is 1, and one client of each role has all callers.
nlohmann::json RunClientLives(const MayflyTarget& target, const Workload& workload);

}  // namespace mayfly::peers
