// Checks rules between settings, which ranges cannot express.
#pragma once

#include "config/config.h"
#include "config/findings.h"

namespace mayfly {

// Adds violations of the rules to `findings`. Skips a rule if a setting that it needs was already
// rejected.
void CheckRules(const Config& config, Findings* findings);

}  // namespace mayfly
