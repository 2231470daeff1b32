// What can be told of a configuration without starting the server: whether files, directories,
// addresses and limits are as a start needs them. Nothing is made, changed or locked.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "base/secret_bytes.h"
#include "config/config.h"
#include "storage/local/disk_plan.h"

namespace mayfly {

// Sentences for the operator.
struct Preflight {
  std::vector<std::string> faults;    // for each of these a start is refused
  std::vector<std::string> warnings;  // a start logs them, or they could not be looked at
};

Preflight CheckBeforeStart(const Config& config, absl::Time now);

// By the setting that is given.
absl::StatusOr<SecretBytes> LoadConfiguredRootKey(const Config& config);
DiskSettings DiskSettingsOf(const Config& config);

}  // namespace mayfly
