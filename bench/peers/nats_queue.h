// Puts and takes of NATS JetStream: a file-backed work queue, which drops a message once its single
// consumer has acknowledged it.
//
// A put is published and acknowledged by the server, with as many under way as the lanes' batches
// hold; a take is fetched in batches, one thread and connection per lane, and acknowledged, the last
// of each batch with an answer. JetStream 2.9 syncs its files every two minutes.
#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "workload.h"

namespace mayfly::peers {

struct NatsTarget {
  int port = 0;                       // on 127.0.0.1
  std::string certificate_directory;  // of deploy/make-certificates; we connect as client
};

// Makes the stream afresh, puts `item_count` messages, takes them all, and removes the stream.
nlohmann::json RunNatsQueue(const NatsTarget& target, const Workload& workload,
                            uint32_t item_count);

}  // namespace mayfly::peers
