#include "cli/settings.h"

#include <map>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/scratch.h"

namespace mayfly::cli {
namespace {

using ::testing::HasSubstr;

constexpr char kFile[] = "server = 'f:1'\nca = 'ca.pem'\ncert = '/abs/cert.pem'\nkey = 'f.key'\n";

class SettingsTest : public testing::Test {
 protected:
  absl::StatusOr<Settings> Load(const Settings& flags = {}, const std::string& path = "",
                                const std::string& profile = "") {
    return LoadSettings(flags, {.path = path, .profile = profile},
                        [this](const char* name) -> const char* {
                          const auto found = variables_.find(name);
                          return found == variables_.end() ? nullptr : found->second.c_str();
                        });
  }
  std::string Error(const std::string& file) {
    return std::string(Load({}, scratch_.Write("config.toml", file)).status().message());
  }

  Scratch scratch_;
  std::map<std::string, std::string> variables_;
};

TEST_F(SettingsTest, AFlagBeatsAVariableBeatsTheFile) {
  const std::string file = scratch_.Write("config.toml", kFile);
  variables_ = {{"MAYFLY_SERVER", "v:1"}, {"MAYFLY_KEY", "v.key"}};
  const absl::StatusOr<Settings> settings = Load({.server = "g:1"}, file);
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->server, "g:1");
  EXPECT_EQ(settings->key, "v.key");
  EXPECT_EQ(settings->ca, scratch_.Path("ca.pem"));
  EXPECT_EQ(settings->cert, "/abs/cert.pem");
}

TEST_F(SettingsTest, TheFileIsThatOfTheFlagOrTheVariableOrTheHome) {
  std::filesystem::create_directories(scratch_.Path(".config/mayfly"));
  scratch_.Write(".config/mayfly/config.toml", kFile);
  variables_["HOME"] = scratch_.Path("");
  EXPECT_EQ(Load()->server, "f:1");
  variables_["MAYFLY_CONFIG"] = scratch_.Write("other.toml", "server = 'o:1'\n");
  EXPECT_THAT(std::string(Load().status().message()), HasSubstr("no ca"));
  EXPECT_EQ(Load({}, scratch_.Path(".config/mayfly/config.toml"))->server, "f:1");
}

TEST_F(SettingsTest, TheFileOfTheHomeNeedNotBeThere) {
  variables_ = {{"HOME", scratch_.Path("")},
                {"MAYFLY_SERVER", "a:1"},
                {"MAYFLY_CA", "b"},
                {"MAYFLY_CERT", "c"},
                {"MAYFLY_KEY", "d"}};
  EXPECT_EQ(Load()->cert, "c");
  EXPECT_THAT(std::string(Load({}, scratch_.Path("none.toml")).status().message()),
              HasSubstr(scratch_.Path("none.toml") + ": cannot be read: No such file"));
}

TEST_F(SettingsTest, AProfileIsBeforeTheEnvironmentAndAfterFlags) {
  const std::string file = scratch_.Write(
      "config.toml", std::string(kFile) + "[profiles.worker]\ncert = 'w.pem'\nkey = 'w.key'\n");
  variables_ = {{"MAYFLY_CERT", "v.pem"}, {"MAYFLY_KEY", "v.key"}};
  EXPECT_EQ(Load({}, file)->cert, "v.pem");
  const absl::StatusOr<Settings> settings = Load({.key = "g.key"}, file, "worker");
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->cert, scratch_.Path("w.pem"));
  EXPECT_EQ(settings->key, "g.key");
  EXPECT_EQ(settings->ca, scratch_.Path("ca.pem"));
}

TEST_F(SettingsTest, AProfileThatIsNotThereIsNamedWithThoseThatAre) {
  const std::string file = scratch_.Write(
      "config.toml", std::string(kFile) + "[profiles.worker]\n[profiles.operator]\n");
  EXPECT_EQ(Load({}, file, "wroker").status().message(),
            "config file " + file + ": has no profile wroker: it has operator, worker");
  EXPECT_THAT(std::string(Load({}, "", "worker").status().message()),
              HasSubstr("--as worker needs a config file"));
}

TEST_F(SettingsTest, MistakesInTheFileNameTheirLine) {
  EXPECT_THAT(Error("ca = 'x'\nport = 1\n"),
              HasSubstr("line 2: unknown key port, expected server, ca, cert, key or profiles"));
  EXPECT_EQ(Error("sever = 'x'\n"), absl::StrCat("config file ", scratch_.Path("config.toml"),
                                                 ": line 1: unknown key sever, did you mean "
                                                 "server?"));
  EXPECT_THAT(Error("[profiles.worker]\nrole = 'x'\n"), HasSubstr("line 2: unknown key role"));
  EXPECT_THAT(Error("profiles.worker = 1\n"), HasSubstr("line 1: a profile must be a table"));
  EXPECT_THAT(Error("server = 7443\n"), HasSubstr("line 1: server must be a string"));
  EXPECT_THAT(Error("\nserver = \n"), HasSubstr("line 2: not TOML"));
}

TEST_F(SettingsTest, AFileThatIsNoneIsSaid) {
  EXPECT_EQ(Load({}, scratch_.Path(".")).status(),
            absl::InvalidArgumentError(absl::StrCat("config file ", scratch_.Path("."),
                                                    ": cannot be read: Is a directory")));
  EXPECT_THAT(std::string(Load({}, "/dev/zero").status().message()),
              HasSubstr("/dev/zero: has more than 1048576 bytes, the limit"));
}

TEST_F(SettingsTest, WhatIsMissingIsNamedWithItsPlaces) {
  EXPECT_EQ(Load().status().message(),
            "no server: set --server, MAYFLY_SERVER or server in a config file");
}

}  // namespace
}  // namespace mayfly::cli
