// Rules between settings: what no single range can say.
#pragma once

#include "config/config.h"
#include "config/findings.h"

namespace mayfly {

// Adds to `findings` what is wrong between the settings of `config`. A rule is left out when a
// setting that it needs has been refused already.
void CheckRules(const Config& config, Findings* findings);

}  // namespace mayfly
