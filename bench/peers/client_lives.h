// Lives of calls in Mayfly through the C++ client library, which batches by itself: as many callers
// as there are lanes, each with one call at a time. What they do at one time travels together.
#pragma once

#include <nlohmann/json.hpp>

#include "mayfly_lives.h"
#include "workload.h"

namespace mayfly::peers {

// `workload.batch_calls` is 1, and one client of each role has all callers.
nlohmann::json RunClientLives(const MayflyTarget& target, const Workload& workload);

}  // namespace mayfly::peers
