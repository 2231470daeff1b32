// Measures streams of Mayfly: the cost of calls that streams wait for, and puts by Session beside
// puts by RPCs.
#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

#include "mayfly_lives.h"

namespace mayfly::peers {

struct Waiting {
  uint32_t streams = 0;
  uint32_t calls_per_stream = 0;
};

// Puts inputs, opens the streams and waits on them for the outputs of ever more of the calls: one,
// half, and all of each stream's. Prints a line after the puts, before the streams are opened and
// after each of these stages, and goes on when it reads one, so that somebody else can start the
// server anew after the first, and look at it after the others. At last puts an output for each
// stream and takes them all, so that it is certain that it was waited for.
nlohmann::json RunMayflyWaiting(const MayflyTarget& target, const Waiting& waiting);

struct Puts {
  bool by_session = false;
  uint32_t under_way = 0;  // batches
  uint32_t batch_items = 1;
  uint64_t payload_bytes = 1024;
  int64_t warm_up_ns = 0;
  int64_t measure_ns = 0;
};

// Inputs on one connection, as requests on one Session or by PutInputs.
nlohmann::json RunMayflyPuts(const MayflyTarget& target, const Puts& puts);

}  // namespace mayfly::peers
