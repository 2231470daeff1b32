// The address of the server and the identity of the caller: from flags, the environment, or a TOML
// file, in this order.
#pragma once

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

namespace mayfly::cli {

struct Settings {
  std::string server;  // host:port
  std::string ca;      // paths of PEM files
  std::string cert;
  std::string key;
};

using Environment = absl::FunctionRef<const char*(const char* name)>;

// `flags` has the values of the command line, empty if not given. The file is `config_flag`, else
// MAYFLY_CONFIG, else ~/.config/mayfly/config.toml, which need not exist. Relative paths in it are
// resolved against its directory. INVALID_ARGUMENT if the file cannot be read, is not TOML, or has
// an unknown key, or if a setting is missing everywhere.
absl::StatusOr<Settings> LoadSettings(Settings flags, const std::string& config_flag,
                                      Environment environment);

}  // namespace mayfly::cli
