// Lives of calls in Redis: SET input, GET it, SET output, GETDEL it, DEL the input. The commands of
// one step of a batch are written together, and the next step starts when all are answered.
//
// One thread and an epoll loop: Redis executes commands on one thread, so a second one here would
// only take its processor. Lanes share the connections, or have several each when there are more; what
// is to be said on one at one time goes out in one write.
#pragma once

#include <nlohmann/json.hpp>

#include "redis_connection.h"
#include "workload.h"

namespace mayfly::peers {

nlohmann::json RunRedisLives(const RedisTarget& target, const Workload& workload);

}  // namespace mayfly::peers
