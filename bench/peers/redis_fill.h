// Fills Redis with many keys by SET, like mayfly_fill.h.
#pragma once

#include <nlohmann/json.hpp>

#include "mayfly_fill.h"
#include "redis_connection.h"
#include "workload.h"

namespace mayfly::peers {

// One connection, on which all lanes' batches are pipelined.
nlohmann::json RunRedisFill(const RedisTarget& target, const Workload& workload, const Fill& fill);

}  // namespace mayfly::peers
