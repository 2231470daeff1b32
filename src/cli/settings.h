// The address of the server and the identity of the caller. Each setting comes from the first of
// these that has it: a flag, the chosen profile in the TOML file, the environment, the file itself.
#pragma once

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mayfly::cli {

struct Settings {
  std::string server;  // host:port
  std::string ca;      // paths of PEM files
  std::string cert;
  std::string key;
};

using Environment = absl::FunctionRef<const char*(const char* name)>;

struct FileChoice {
  // Empty: MAYFLY_CONFIG, else ~/.config/mayfly/config.toml, which need not exist.
  std::string path;
  std::string profile;  // the table profiles.NAME; empty: none
};

// `flags` has the values of the command line, empty if not given. Relative paths in the file are
// resolved against its directory. INVALID_ARGUMENT if the file cannot be read, is not TOML, has an
// unknown key or not the chosen profile, or if a setting is missing everywhere.
absl::StatusOr<Settings> LoadSettings(Settings flags, const FileChoice& choice,
                                      Environment environment);

// FAILED_PRECONDITION if one of the PEM files cannot be read.
absl::Status CheckReadable(const Settings& settings);

}  // namespace mayfly::cli
