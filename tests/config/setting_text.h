// Settings as text, for tests that iterate over the whole table.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "config/setting.h"

namespace mayfly {

// The value that `config` holds for `setting`, as TOML.
inline std::string ValueAsToml(const Setting& setting, Config config) {
  struct Visitor {
    Config& config;
    std::string operator()(const BooleanSetting& type) {
      return type.field(config) ? "true" : "false";
    }
    std::string operator()(const CountSetting& type) { return absl::StrCat(type.field(config)); }
    std::string operator()(const BytesSetting& type) {
      const uint64_t bytes = type.field(config);
      return bytes == 0 ? "0" : absl::StrCat("\"", FormatBytes(bytes), "\"");
    }
    std::string operator()(const DurationSetting& type) {
      return absl::StrCat("\"", absl::FormatDuration(type.field(config)), "\"");
    }
    std::string operator()(const TextSetting& type) {
      return absl::StrCat("\"", type.field(config), "\"");
    }
    std::string operator()(const PathSetting& type) {
      return absl::StrCat("\"", type.field(config), "\"");
    }
    std::string operator()(const ChoiceSetting& type) {
      return absl::StrCat("\"", type.names[type.get(config)], "\"");
    }
  };
  return std::visit(Visitor{config}, setting.type);
}

// A document that holds what is required and nothing else, and in which single settings can be
// set or replaced.
class Document {
 public:
  Document() {
    Set("tls", "ca_file", "\"ca.pem\"");
    Set("tls", "certificate_file", "\"server.pem\"");
    Set("tls", "key_file", "\"server.key\"");
    Set("storage", "data_dir", "\"/data\"");
    Set("keys", "root_key_file", "\"/root.key\"");
  }

  Document& Set(absl::string_view section, absl::string_view name, absl::string_view value) {
    sections_[std::string(section)][std::string(name)] = std::string(value);
    return *this;
  }

  bool Has(absl::string_view section, absl::string_view name) const {
    const auto members = sections_.find(std::string(section));
    return members != sections_.end() && members->second.count(std::string(name)) != 0;
  }

  std::string ToToml() const {
    std::string text;
    for (const auto& [section, members] : sections_) {
      absl::StrAppend(&text, "[", section, "]\n");
      for (const auto& [name, value] : members) absl::StrAppend(&text, name, " = ", value, "\n");
    }
    return text;
  }

 private:
  std::map<std::string, std::map<std::string, std::string>> sections_;
};

}  // namespace mayfly
