#include "cli/settings.h"

#include <array>
#include <errno.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string.h>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include <toml++/toml.h>

#include "base/error.h"
#include "cli/mistake.h"

namespace mayfly::cli {
namespace {

struct SettingSource {
  const char* key;  // in the file, and as --key
  const char* variable;
  std::string Settings::*field;
  bool is_path;
};

constexpr std::array<SettingSource, 4> kSources = {{
    {"server", "MAYFLY_SERVER", &Settings::server, false},
    {"ca", "MAYFLY_CA", &Settings::ca, true},
    {"cert", "MAYFLY_CERT", &Settings::cert, true},
    {"key", "MAYFLY_KEY", &Settings::key, true},
}};

const SettingSource* FindSource(std::string_view key) {
  for (const SettingSource& source : kSources) {
    if (key == source.key) return &source;
  }
  return nullptr;
}

// "config file PATH: line 3: ..."
absl::Status FileError(const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("config file ", path, ": ", what));
}

// Sets a value of `settings` that is still empty.
absl::Status TakeKey(std::string_view key, const toml::node& value, const std::string& path,
                     Settings* settings) {
  const std::string place = absl::StrCat("line ", value.source().begin.line, ": ");
  const SettingSource* source = FindSource(key);
  const std::string shown(key);
  if (source == nullptr) {
    std::vector<std::string> known;
    for (const SettingSource& other : kSources) known.emplace_back(other.key);
    const std::string hint = DidYouMean(shown, known);
    return FileError(path,
                     absl::StrCat(place, "unknown key ", shown,
                                  hint.empty() ? ", expected server, ca, cert or key" : hint));
  }
  const auto text = value.value_exact<std::string>();
  if (!text.has_value()) return FileError(path, absl::StrCat(place, shown, " must be a string"));
  std::string& field = settings->*source->field;
  if (!field.empty() || text->empty()) return absl::OkStatus();
  field = source->is_path ? (std::filesystem::path(path).parent_path() / *text).string() : *text;
  return absl::OkStatus();
}

absl::Status TakeFile(const std::string& path, Settings* settings) {
  errno = 0;
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file.is_open() || file.bad()) {
    return FileError(path, absl::StrCat("cannot be read: ", strerrordesc_np(errno)));
  }
  toml::table document;
  try {
    document = toml::parse(text);
  } catch (const toml::parse_error& error) {
    return FileError(path, absl::StrCat("line ", error.source().begin.line,
                                        ": not TOML: ", std::string(error.description())));
  }
  for (const auto& [key, value] : document) {
    RETURN_IF_ERROR(TakeKey(key.str(), value, path, settings));
  }
  return absl::OkStatus();
}

std::string ValueOf(Environment environment, const char* name) {
  const char* value = environment(name);
  return value == nullptr ? "" : value;
}

// Empty if there is no file to read.
std::string ConfigPath(const std::string& flag, Environment environment) {
  if (!flag.empty()) return flag;
  std::string path = ValueOf(environment, "MAYFLY_CONFIG");
  if (!path.empty()) return path;
  const std::string home = ValueOf(environment, "HOME");
  if (home.empty()) return "";
  path = home + "/.config/mayfly/config.toml";
  std::error_code error;
  return std::filesystem::exists(path, error) ? path : "";
}

}  // namespace

absl::StatusOr<Settings> LoadSettings(Settings flags, const std::string& config_flag,
                                      Environment environment) {
  Settings settings = std::move(flags);
  for (const SettingSource& source : kSources) {
    std::string& field = settings.*source.field;
    if (field.empty()) field = ValueOf(environment, source.variable);
  }
  const std::string path = ConfigPath(config_flag, environment);
  if (!path.empty()) RETURN_IF_ERROR(TakeFile(path, &settings));
  for (const SettingSource& source : kSources) {
    if (!(settings.*source.field).empty()) continue;
    return absl::InvalidArgumentError(absl::StrCat("no ", source.key, ": set --", source.key, ", ",
                                                   source.variable, " or ", source.key,
                                                   " in a config file"));
  }
  return settings;
}

}  // namespace mayfly::cli
