// Converts a parsed TOML document to a Config, using the table of config/setting.h. config/rules.h
// checks the rules between settings.
#pragma once

#include <string>

#include <toml++/toml.h>

#include "config/config.h"
#include "config/findings.h"

namespace mayfly {

// Reads every setting of `document`. Relative paths are resolved against `directory`, or left
// unchanged if it is empty. A tenant inherits the settings that it does not set. A default_ttl that
// is not set is limited to max_ttl.
Config ReadConfig(const toml::table& document, const std::string& directory, Findings* findings);

}  // namespace mayfly
