// Values of a TOML document: their form in error texts, and their conversion to fields of Config.
#pragma once

#include <string>
#include <string_view>

// The target's flags select toml++ as a shared library, which compiles in a tenth of the time.
#include "absl/strings/string_view.h"
#include <toml++/toml.h>

#include "config/setting.h"

namespace mayfly {

// absl::string_view is not std::string_view in Debian's Abseil.
inline absl::string_view ToAbsl(std::string_view text) {
  return absl::string_view(text.data(), text.size());
}

// A key for an error text; quoted TOML keys may contain anything.
std::string ShowKey(const toml::key& key);

// "a number", "a table".
std::string ShowType(const toml::node& node);

// The value for an error text, escaped and truncated to 64 bytes; the type if it is not a scalar.
std::string ShowValue(const toml::node& node);

enum class Verdict { kTaken, kWrongType, kOutOfRange };

// Converts `node` and stores it in the field of `config` that `setting` describes, if it is valid.
// Relative paths are resolved against `directory`, or left unchanged if it is empty.
Verdict TakeValue(const Setting& setting, const toml::node& node, const std::string& directory,
                  Config* config);

}  // namespace mayfly
