// Checks that deploy/mayfly.toml documents every setting with its default and its range.
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/config.h"
#include "config/setting.h"
#include "config/setting_text.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;

// One "name = value" of the file, commented out or not, with the comment above it as one line.
struct Entry {
  std::string section;
  std::string name;
  std::string value;
  std::string comment;
  bool commented_out;
};

std::string ReadDeployFile() {
  std::ifstream file(MAYFLY_DEPLOY_DIR "/mayfly.toml");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// "# name = value" or "# [section]": what becomes TOML when the "# " is taken away.
bool IsCommentedOutToml(absl::string_view line) {
  if (!absl::ConsumePrefix(&line, "# ")) return false;
  if (absl::StartsWith(line, "[")) return true;
  const std::vector<absl::string_view> sides = absl::StrSplit(line, absl::MaxSplits(" = ", 1));
  return sides.size() == 2 && !absl::StrContains(sides[0], ' ');
}

std::vector<Entry> ReadEntries(const std::string& text) {
  std::vector<Entry> entries;
  std::string section;
  std::vector<absl::string_view> comment;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const bool commented_out = IsCommentedOutToml(line);
    if (commented_out) line.remove_prefix(2);
    if (line.empty()) {
      comment.clear();
    } else if (absl::ConsumePrefix(&line, "# ")) {
      comment.push_back(line);
    } else if (absl::ConsumePrefix(&line, "[")) {
      section = std::string(absl::StripSuffix(line, "]"));
      comment.clear();
    } else if (line != "#") {
      const std::vector<std::string> sides = absl::StrSplit(line, absl::MaxSplits(" = ", 1));
      entries.push_back(
          {section, sides.at(0), sides.at(1), absl::StrJoin(comment, " "), commented_out});
      comment.clear();
    }
  }
  return entries;
}

std::string Documentation(const Setting& setting) {
  const std::string range = DescribeRange(setting);
  if (setting.required) return "Required.";
  if (setting.section == "keys") {
    return "Exactly one of root_key_file and root_key_credential is required.";
  }
  std::string text = absl::StrCat("Default ", ValueAsToml(setting, Config()), ".",
                                  range.empty() ? "" : absl::StrCat(" Range ", range, "."));
  if (std::holds_alternative<BooleanSetting>(setting.type)) return "true or false. " + text;
  if (const auto* choice = std::get_if<ChoiceSetting>(&setting.type)) {
    return absl::StrCat("One of \"", absl::StrJoin(choice->names, "\", \""), "\". ", text);
  }
  return text;
}

TEST(DeployFile, DocumentsEverySettingOnceInTheOrderOfTheTable) {
  std::vector<std::string> documented;
  for (const Entry& entry : ReadEntries(ReadDeployFile())) {
    if (absl::StrContains(entry.section, ".tenants.")) continue;
    documented.push_back(absl::StrCat(entry.section, ".", entry.name));
  }
  std::vector<std::string> settings;
  for (const Setting& setting : Settings()) settings.push_back(setting.FullName());
  EXPECT_EQ(documented, settings);
}

TEST(DeployFile, NamesEveryDefaultAndRange) {
  const std::vector<Entry> entries = ReadEntries(ReadDeployFile());
  for (const Setting& setting : Settings()) {
    for (const Entry& entry : entries) {
      if (entry.section != setting.section || entry.name != setting.name) continue;
      SCOPED_TRACE(setting.FullName());
      EXPECT_THAT(entry.comment, HasSubstr(Documentation(setting)));
      if (setting.required || setting.section == "keys") continue;
      EXPECT_EQ(entry.value, ValueAsToml(setting, Config()));
      EXPECT_FALSE(entry.commented_out);
    }
  }
}

TEST(DeployFile, ParsesToTheDefaults) {
  const absl::StatusOr<Config> config = ParseConfig(ReadDeployFile());
  ASSERT_TRUE(config.ok()) << config.status();
  for (const Setting& setting : Settings()) {
    if (setting.required || setting.name == "root_key_file") continue;
    EXPECT_EQ(ValueAsToml(setting, *config), ValueAsToml(setting, Config())) << setting.FullName();
  }
  EXPECT_TRUE(config->retention.tenants.empty());
  EXPECT_TRUE(config->limits.tenants.empty());
}

TEST(DeployFile, HasATenantWithAllItsSettingsToUncomment) {
  std::string text;
  bool tenant = false;
  for (absl::string_view line : absl::StrSplit(ReadDeployFile(), '\n')) {
    if (line.empty()) tenant = false;
    if (absl::StartsWith(line, "# [")) tenant = true;
    absl::StrAppend(&text, tenant ? line.substr(2) : line, "\n");
  }
  const absl::StatusOr<Config> config = ParseConfig(text);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->retention.tenants.count("acme"), 1);
  EXPECT_EQ(config->limits.tenants.count("acme"), 1);
  const std::vector<Entry> entries = ReadEntries(text);
  for (const Setting& setting : Settings()) {
    if (setting.tenant_name.empty()) continue;
    const std::string section = absl::StrCat(setting.tenant_section, ".tenants.acme");
    EXPECT_TRUE(std::any_of(entries.begin(), entries.end(), [&](const Entry& entry) {
      return entry.section == section && entry.name == setting.tenant_name;
    })) << setting.FullName();
  }
}

}  // namespace
}  // namespace mayfly
