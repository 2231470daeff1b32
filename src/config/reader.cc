#include "config/reader.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/tenant.h"
#include "config/setting.h"
#include "config/toml_value.h"

namespace mayfly {
namespace {

// The Levenshtein distance.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

// ", did you mean X?", with the same name in another section or the nearest spelling in this one;
// empty if none is near.
std::string Suggest(absl::string_view full_name, const std::vector<std::string>& candidates) {
  const absl::string_view name = full_name.substr(full_name.rfind('.') + 1);
  size_t best = std::max<size_t>(2, name.size() / 3) + 1;
  std::string nearest;
  for (const std::string& candidate : candidates) {
    const bool misplaced = absl::EndsWith(candidate, absl::StrCat(".", name));
    const size_t distance = misplaced ? 0 : EditDistance(full_name, candidate);
    if (distance >= best) continue;
    best = distance;
    nearest = candidate;
  }
  return nearest.empty() ? "" : absl::StrCat(", did you mean ", nearest, "?");
}

std::vector<std::string> SectionNames() {
  std::vector<std::string> names;
  for (const Setting& setting : Settings()) {
    if (names.empty() || names.back() != setting.section) names.emplace_back(setting.section);
  }
  return names;
}

std::vector<std::string> FullNames() {
  std::vector<std::string> names;
  for (const Setting& setting : Settings()) names.push_back(setting.FullName());
  return names;
}

const Setting* FindSetting(absl::string_view section, absl::string_view name) {
  for (const Setting& setting : Settings()) {
    if (setting.section == section && setting.name == name) return &setting;
  }
  return nullptr;
}

const Setting* FindTenantSetting(absl::string_view section, absl::string_view name) {
  for (const Setting& setting : Settings()) {
    if (setting.tenant_section == section && setting.tenant_name == name) return &setting;
  }
  return nullptr;
}

// The names of a tenant's settings in `section`, each after `prefix`. Most sections have none.
std::vector<std::string> TenantNames(absl::string_view section, absl::string_view prefix) {
  std::vector<std::string> names;
  for (const Setting& setting : Settings()) {
    if (setting.tenant_section != section) continue;
    names.push_back(absl::StrCat(prefix, ".", setting.tenant_name));
  }
  return names;
}

class Reader {
 public:
  Reader(const std::string& directory, Findings* findings)
      : directory_(directory), findings_(*findings) {}

  Config Read(const toml::table& document) {
    for (auto&& [key, node] : document) ReadSection(key, node);
    FollowMaxTtl("retention.default_ttl", &config_);
    // After all sections, because tenants inherit from them.
    const Config base = config_;
    for (const auto& [section, tenants] : tenants_) {
      for (auto&& [key, node] : *tenants) ReadTenant(section, key, node, base);
    }
    for (const Setting& setting : Settings()) CheckRequired(setting);
    return std::move(config_);
  }

 private:
  void ReadSection(const toml::key& key, const toml::node& node) {
    const std::string section = ShowKey(key);
    findings_.Given(section, key.source().begin.line);
    std::vector<std::string> sections = SectionNames();
    if (std::find(sections.begin(), sections.end(), section) == sections.end()) {
      const std::vector<std::string> names = FullNames();
      sections.insert(sections.end(), names.begin(), names.end());
      findings_.Refuse(section, absl::StrCat("is not a section", Suggest(section, sections)));
      return;
    }
    if (!node.is_table()) {
      findings_.Refuse(section,
                       absl::StrCat("is ", ShowType(node), ", expected a table, [", section, "]"));
      return;
    }
    for (auto&& [name, value] : *node.as_table()) ReadMember(section, name, value);
  }

  void ReadMember(const std::string& section, const toml::key& key, const toml::node& node) {
    const std::string full_name = absl::StrCat(section, ".", ShowKey(key));
    findings_.Given(full_name, key.source().begin.line);
    if (const Setting* setting = FindSetting(section, ToAbsl(key.str()))) {
      ReadSetting(*setting, full_name, node, &config_);
      return;
    }
    const bool tenants = key.str() == "tenants" && !TenantNames(section, "").empty();
    if (!tenants) {
      findings_.Refuse(full_name,
                       absl::StrCat("is not a setting", Suggest(full_name, FullNames())));
      return;
    }
    if (!node.is_table()) {
      findings_.Refuse(full_name, absl::StrCat("is ", ShowType(node), ", expected tables, [",
                                               full_name, ".NAME]"));
      return;
    }
    tenants_.emplace_back(section, node.as_table());
  }

  void ReadTenant(const std::string& section, const toml::key& tenant, const toml::node& node,
                  const Config& base) {
    const std::string tenant_table = absl::StrCat(section, ".tenants.", ShowKey(tenant));
    findings_.Given(tenant_table, tenant.source().begin.line);
    if (!node.is_table()) {
      findings_.Refuse(tenant_table, absl::StrCat("is ", ShowType(node), ", expected a table, [",
                                                  section, ".tenants.NAME]"));
      return;
    }
    if (!IsTenantName(ToAbsl(tenant.str()))) {
      findings_.Refuse(tenant_table,
                       "is not a valid tenant name: 1 to 63 of a-z, 0-9 and '-', not "
                       "starting with '-'");
    }
    Config own = base;
    for (auto&& [key, value] : *node.as_table()) {
      const std::string full_name = absl::StrCat(tenant_table, ".", ShowKey(key));
      findings_.Given(full_name, key.source().begin.line);
      if (const Setting* setting = FindTenantSetting(section, ToAbsl(key.str()))) {
        ReadSetting(*setting, full_name, value, &own);
        continue;
      }
      findings_.Refuse(full_name,
                       absl::StrCat("is not a setting of a tenant",
                                    Suggest(full_name, TenantNames(section, tenant_table))));
    }
    FollowMaxTtl(absl::StrCat(tenant_table, ".default_ttl"), &own);
    const std::string name(tenant.str());
    if (section == "retention") config_.retention.tenants[name] = own.RetentionFor(name);
    if (section == "limits") config_.limits.tenants[name] = own.LimitsFor(name);
  }

  void ReadSetting(const Setting& setting, const std::string& full_name, const toml::node& node,
                   Config* config) {
    const Verdict verdict = TakeValue(setting, node, directory_, config);
    if (verdict == Verdict::kTaken) return;
    findings_.Refuse(full_name,
                     absl::StrCat("is ", setting.echo ? ShowValue(node) : ShowType(node),
                                  verdict == Verdict::kOutOfRange
                                      ? absl::StrCat(", range is ", DescribeRange(setting))
                                      : absl::StrCat(", expected ", DescribeWants(setting))));
  }

  void FollowMaxTtl(absl::string_view default_ttl, Config* config) {
    if (findings_.WasGiven(default_ttl)) return;
    config->retention.default_ttl =
        std::min(config->retention.default_ttl, config->retention.max_ttl);
  }

  void CheckRequired(const Setting& setting) {
    const std::string full_name = setting.FullName();
    if (!setting.required || findings_.WasRefused(full_name)) return;
    if (findings_.WasRefused(setting.section)) return;
    if (!findings_.WasGiven(full_name)) {
      findings_.RefuseAt(findings_.LineOf(setting.section), full_name,
                         absl::StrCat("is missing, expected ", DescribeWants(setting)));
      return;
    }
    const auto* path = std::get_if<PathSetting>(&setting.type);
    if (path != nullptr && path->field(config_).empty()) {
      findings_.Refuse(full_name, absl::StrCat("is empty, expected ", DescribeWants(setting)));
    }
  }

  const std::string& directory_;
  Findings& findings_;
  Config config_;
  std::vector<std::pair<std::string, const toml::table*>> tenants_;  // by section
};

}  // namespace

Config ReadConfig(const toml::table& document, const std::string& directory, Findings* findings) {
  return Reader(directory, findings).Read(document);
}

}  // namespace mayfly
