// Lives of calls in Mayfly, or in the null server, which speaks the same contract.
//
// Raw stubs with callbacks, so that what is measured is the server and the wire and not a client
// library; completion queues reach seven to nine tenths of that on two cores. Messages are
// reused, with the memory they have grown. Payloads carry their CRC-32C and are checked on the way
// back, as our client library does.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "workload.h"

namespace mayfly::peers {

struct MayflyTarget {
  std::string address;                // host:port
  std::string certificate_directory;  // of deploy/make-certificates
};

nlohmann::json RunMayflyLives(const MayflyTarget& target, const Workload& workload);

// Puts `call_count` inputs and then takes as many outputs, each timed by itself; in between the
// outputs are put, which is not timed. Every take is claimed and acknowledged.
nlohmann::json RunMayflyQueue(const MayflyTarget& target, const Workload& workload,
                              uint32_t call_count);

}  // namespace mayfly::peers
