// One value of a TOML document: how an error text shows it, and how it becomes a field of Config.
#pragma once

#include <string>
#include <string_view>

// The target's flags choose toml++ as a shared library, which compiles in a tenth of the time.
#include "absl/strings/string_view.h"
#include <toml++/toml.h>

#include "config/setting.h"

namespace mayfly {

// absl::string_view is not std's in Debian's Abseil.
inline absl::string_view ToAbsl(std::string_view text) {
  return absl::string_view(text.data(), text.size());
}

// A key as it may stand in an error text: quoted keys of TOML may hold anything.
std::string ShowKey(const toml::key& key);

// "a number", "a table".
std::string ShowType(const toml::node& node);

// The value itself, escaped and cut to 64 bytes; the type for what is not a plain value.
std::string ShowValue(const toml::node& node);

enum class Verdict { kTaken, kWrongType, kOutOfRange };

// Puts `node` into the field of `config` that `setting` describes, unless the verdict is against
// it. Relative paths are taken from `directory`, or left as they are when it is empty.
Verdict TakeValue(const Setting& setting, const toml::node& node, const std::string& directory,
                  Config* config);

}  // namespace mayfly
