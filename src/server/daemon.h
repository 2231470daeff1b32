// Runs mayflyd, from a valid configuration to shutdown.
//
//   listen (STARTING) -> root key -> recover storage -> serve -> signal -> drain -> close
#pragma once

#include <string>

#include "absl/status/status.h"

#include "config/config.h"
#include "rpc/log.h"

namespace mayfly {

// Serves until SIGTERM or SIGINT, then drains and closes. An error is a refusal to start, with a
// sentence for the operator. After a failed write or sync this does not return: it ends the process
// with kExitStorageFailed, because only a new start can determine what the disk holds.
absl::Status RunDaemon(const Config& config, Log* log);

// Seals the hour keys with the key in `new_root_key_file`. Afterwards, and not before, that file
// may replace the old one in the configuration. The server must not run. Idempotent.
absl::Status RotateRootKey(const Config& config, const std::string& new_root_key_file, Log* log);

inline constexpr int kExitStorageFailed = 70;  // EX_SOFTWARE, sysexits.h

}  // namespace mayfly
