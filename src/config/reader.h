// Turns a parsed TOML document into a Config, setting by setting, against the table of
// config/setting.h. Rules between settings are the work of config/rules.h.
#pragma once

#include <string>

#include <toml++/toml.h>

#include "config/config.h"
#include "config/findings.h"

namespace mayfly {

// Reads every setting of `document`. Relative paths are taken from `directory`, or left as they
// are when it is empty. What a tenant leaves out it has from the settings of all; a default_ttl
// that is left out follows a lower max_ttl down.
Config ReadConfig(const toml::table& document, const std::string& directory, Findings* findings);

}  // namespace mayfly
