// Where the server is and who the caller is: from flags, else the environment, else a TOML file.
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

// `flags` has what the command line says, empty where it is silent. The file is `config_flag`, else
// MAYFLY_CONFIG, else ~/.config/mayfly/config.toml, which need not be there. Relative paths in it
// start from its directory. INVALID_ARGUMENT when the file cannot be read, is not TOML, or has a
// key that is not known, and when a setting is missing everywhere.
absl::StatusOr<Settings> LoadSettings(Settings flags, const std::string& config_flag,
                                      Environment environment);

}  // namespace mayfly::cli
