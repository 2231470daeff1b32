// Reaches the server before a command begins to wait for outputs.
//
// Otherwise a server that is down looks like an output that is not there yet.
#pragma once

#include <string>

#include "absl/status/status.h"

#include "cli/command_line.h"
#include "cli/context.h"
#include "mayfly/client.h"

namespace mayfly::cli {

// Within --timeout. Says so on stderr if there is no answer soon.
absl::Status ReachServer(const client::Client& client, const std::string& call_id,
                         const CommandLine& line, const Context& context);

}  // namespace mayfly::cli
