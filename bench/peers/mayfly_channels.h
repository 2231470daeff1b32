// Connections to a server with Mayfly's contract, in both roles.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mayfly/v1/function_io.grpc.pb.h"

namespace mayfly::peers {

using Stub = v1::FunctionIo::Stub;

struct Stubs {
  std::unique_ptr<Stub> client;
  std::unique_ptr<Stub> worker;
};

// `count` connections for each role, each with a connection of its own, all connected.
std::vector<Stubs> Connect(const std::string& address, const std::string& certificate_directory,
                           uint32_t count);

}  // namespace mayfly::peers
