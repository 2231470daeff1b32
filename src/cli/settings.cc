#include "cli/settings.h"

#include <array>
#include <errno.h>
#include <filesystem>
#include <fstream>
#include <string.h>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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

constexpr std::string_view kProfilesKey = "profiles";

// A device such as /dev/zero has no end.
constexpr size_t kFileBytesMax = 1 << 20;

absl::StatusOr<std::string> ReadText(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text(kFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) {
    return absl::InvalidArgumentError(absl::StrCat("cannot be read: ", strerrordesc_np(errno)));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() <= kFileBytesMax) return text;
  return absl::InvalidArgumentError(
      absl::StrCat("has more than ", kFileBytesMax, " bytes, the limit"));
}

// A file with its tables as they were parsed.
class SettingsFile {
 public:
  static absl::StatusOr<SettingsFile> Read(const std::string& path) {
    SettingsFile result(path);
    const absl::StatusOr<std::string> text = ReadText(path);
    if (!text.ok()) return result.Error(text.status().message());
    try {
      result.document_ = toml::parse(*text);
    } catch (const toml::parse_error& error) {
      return result.Error(absl::StrCat("line ", error.source().begin.line,
                                       ": not TOML: ", std::string(error.description())));
    }
    // Mistakes in profiles that are not chosen are mistakes too.
    Settings unused;
    RETURN_IF_ERROR(result.Take(&unused));
    if (const toml::table* profiles = result.Profiles()) {
      for (const auto& [name, table] : *profiles) {
        RETURN_IF_ERROR(result.TakeTable(table, &unused));
      }
    }
    return result;
  }

  // Set the values of `settings` that are still empty.
  absl::Status Take(Settings* settings) const {
    for (const auto& [key, value] : document_) {
      if (key.str() == kProfilesKey) continue;
      RETURN_IF_ERROR(TakeKey(key.str(), value, settings));
    }
    return absl::OkStatus();
  }
  absl::Status TakeProfile(const std::string& name, Settings* settings) const {
    std::vector<std::string> names;
    if (const toml::table* profiles = Profiles()) {
      if (const toml::node* table = profiles->get(name)) return TakeTable(*table, settings);
      for (const auto& [key, table] : *profiles) names.emplace_back(key.str());
    }
    return Error(absl::StrCat("has no profile ", name, ": ",
                              names.empty() ? "it has none; add a table [profiles." + name + "]"
                                            : "it has " + absl::StrJoin(names, ", ")));
  }

 private:
  explicit SettingsFile(const std::string& path)
      : path_(path), directory_(std::filesystem::path(path).parent_path()) {}

  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("config file ", path_, ": ", what));
  }

  // Null if there are none. Not copied: copies lose the numbers of their lines.
  const toml::table* Profiles() const { return document_[kProfilesKey].as_table(); }

  absl::Status TakeTable(const toml::node& node, Settings* settings) const {
    const toml::table* table = node.as_table();
    if (table == nullptr) {
      return Error(absl::StrCat("line ", node.source().begin.line, ": a profile must be a table"));
    }
    for (const auto& [key, value] : *table) {
      RETURN_IF_ERROR(TakeKey(key.str(), value, settings));
    }
    return absl::OkStatus();
  }

  absl::Status TakeKey(std::string_view key, const toml::node& value, Settings* settings) const {
    const SettingSource* source = FindSource(key);
    const std::string shown(key);
    if (source == nullptr) {
      std::vector<std::string> known = {std::string(kProfilesKey)};
      for (const SettingSource& other : kSources) known.emplace_back(other.key);
      const std::string hint = DidYouMean(shown, known);
      return Error(
          absl::StrCat("line ", value.source().begin.line, ": unknown key ", shown,
                       hint.empty() ? ", expected server, ca, cert, key or profiles" : hint));
    }
    const auto text = value.value_exact<std::string>();
    if (!text.has_value()) {
      return Error(
          absl::StrCat("line ", value.source().begin.line, ": ", shown, " must be a string"));
    }
    std::string& field = settings->*source->field;
    if (!field.empty() || text->empty()) return absl::OkStatus();
    field = source->is_path ? (directory_ / *text).string() : *text;
    return absl::OkStatus();
  }

  std::string path_;
  std::filesystem::path directory_;
  toml::table document_;
};

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

absl::StatusOr<Settings> LoadSettings(Settings flags, const FileChoice& choice,
                                      Environment environment) {
  Settings settings = std::move(flags);
  absl::StatusOr<SettingsFile> file = absl::NotFoundError("no config file");
  const std::string path = ConfigPath(choice.path, environment);
  if (!path.empty()) {
    file = SettingsFile::Read(path);
    RETURN_IF_ERROR(file.status());
  }
  if (!choice.profile.empty()) {
    if (!file.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--as ", choice.profile, " needs a config file with a table [profiles.",
                       choice.profile, "]: set --config or MAYFLY_CONFIG"));
    }
    RETURN_IF_ERROR(file->TakeProfile(choice.profile, &settings));
  }
  for (const SettingSource& source : kSources) {
    std::string& field = settings.*source.field;
    if (field.empty()) field = ValueOf(environment, source.variable);
  }
  if (file.ok()) RETURN_IF_ERROR(file->Take(&settings));
  for (const SettingSource& source : kSources) {
    if (!(settings.*source.field).empty()) continue;
    return absl::InvalidArgumentError(absl::StrCat("no ", source.key, ": set --", source.key, ", ",
                                                   source.variable, " or ", source.key,
                                                   " in a config file"));
  }
  return settings;
}

absl::Status CheckReadable(const Settings& settings) {
  for (const SettingSource& source : kSources) {
    if (!source.is_path) continue;
    const std::string& path = settings.*source.field;
    // Not opened: it may be a pipe, which can be read once.
    int error = access(path.c_str(), R_OK) == 0 ? 0 : errno;
    std::error_code ignored;
    if (error == 0 && std::filesystem::is_directory(path, ignored)) error = EISDIR;
    if (error == 0) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("--", source.key, " is ", path, ", not readable: ", strerrordesc_np(error)));
  }
  return absl::OkStatus();
}

}  // namespace mayfly::cli
