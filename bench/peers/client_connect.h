// Connects the C++ client to a server of a benchmark.
#pragma once

#include <string>

#include "mayfly/client.h"
#include "mayfly_lives.h"

namespace mayfly::peers {

// `role` is that of a certificate in the target's directory.
client::Client ConnectOrDie(const MayflyTarget& target, const std::string& role);

}  // namespace mayfly::peers
