#include "config/config.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/error.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// All that is required, in lines 1 to 7, and then `rest`, still in [storage].
std::string Complete(absl::string_view rest) {
  return absl::StrCat(R"(keys.root_key_file = "/etc/mayfly/root.key"
[tls]
ca_file = "ca.pem"
certificate_file = "server.pem"
key_file = "server.key"
[storage]
data_dir = "/var/lib/mayfly"
)",
                      rest);
}

std::string ErrorOf(absl::string_view text) {
  return std::string(ParseConfig(text).status().message());
}

struct BadCase {
  absl::string_view rest;  // from line 8 on
  absl::string_view error;
};

class BadConfig : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadConfig, IsRefusedInTheseWords) {
  const absl::StatusOr<Config> config = ParseConfig(Complete(GetParam().rest));
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(config.status()), Reason::kFieldInvalid);
  EXPECT_EQ(config.status().message(), GetParam().error);
}

constexpr BadCase kNames[] = {
    {"shard = 2", "line 8: storage.shard is not a setting, did you mean storage.shards?"},
    {"max_ttl = \"1h\"",
     "line 8: storage.max_ttl is not a setting, did you mean retention.max_ttl?"},
    {"frobnicate = 1", "line 8: storage.frobnicate is not a setting"},
    {"\"a\\nb\" = 1", "line 8: storage.a\\nb is not a setting"},
    {"\n[sever]\nlisten = \"a:1\"", "line 9: sever is not a section, did you mean server?"},
    {"[zzzzzzzz]", "line 8: zzzzzzzz is not a section"},
    {"[storage.tenants.acme]", "line 8: storage.tenants is not a setting"},
    {"[retention.tenants.acme]\nmax_tll = \"1h\"",
     "line 9: retention.tenants.acme.max_tll is not a setting of a tenant, did you mean "
     "retention.tenants.acme.max_ttl?"},
    {"[limits.tenants.acme]\nbatch_items_max = 1",
     "line 9: limits.tenants.acme.batch_items_max is not a setting of a tenant"},
    {"[retention.tenants.Acme_1]",
     "line 8: retention.tenants.Acme_1 is not a valid tenant name: 1 to 63 of a-z, 0-9 and "
     "'-', not starting with '-'"},
};
INSTANTIATE_TEST_SUITE_P(Names, BadConfig, ::testing::ValuesIn(kNames));

constexpr BadCase kTypes[] = {
    {"shards = \"4\"", "line 8: storage.shards is \"4\", expected an integer, 1 to 64 shards"},
    {"shards = 4.0", "line 8: storage.shards is 4.0, expected an integer, 1 to 64 shards"},
    {"shards = [4]", "line 8: storage.shards is an array, expected an integer, 1 to 64 shards"},
    {"shards.x = 4", "line 8: storage.shards is a table, expected an integer, 1 to 64 shards"},
    {"shards = 2026-01-01",
     "line 8: storage.shards is a date or time, expected an integer, 1 to 64 shards"},
    {"accept_data_loss = 1", "line 8: storage.accept_data_loss is 1, expected true or false"},
    {"durability = \"fast\"",
     "line 8: storage.durability is \"fast\", expected one of \"sync\", \"relaxed\""},
    {"durability = true",
     "line 8: storage.durability is true, expected one of \"sync\", \"relaxed\""},
    {"memtable_bytes = \"64MB\"",
     "line 8: storage.memtable_bytes is \"64MB\", expected an integer (bytes) or a string such as "
     "\"64MiB\", 16MiB to 8GiB"},
    {"[log]\nfile = 1", "line 9: log.file is 1, expected a path in quotes"},
    {"[log]\nfile = \"a\\u0000b\"", "line 9: log.file is \"a\\000b\", expected a path in quotes"},
    {"[server]\ndrain_timeout = 30",
     "line 9: server.drain_timeout is 30, expected a duration in quotes with a unit, such as "
     "\"30s\", 0 to 10m"},
    {"[server]\ndrain_timeout = \"30\"",
     "line 9: server.drain_timeout is \"30\", expected a duration in quotes with a unit, such as "
     "\"30s\", 0 to 10m"},
    {"[server]\nlisten = \"localhost\"",
     "line 9: server.listen is \"localhost\", expected host:port, such as \"127.0.0.1:7443\" or "
     "\"[::1]:7443\""},
    {"[server]\nlisten = \"::1:7443\"",
     "line 9: server.listen is \"::1:7443\", expected host:port, such as \"127.0.0.1:7443\" or "
     "\"[::1]:7443\""},
    {"[server]\nlisten = \"h:65536\"",
     "line 9: server.listen is \"h:65536\", expected host:port, such as \"127.0.0.1:7443\" or "
     "\"[::1]:7443\""},
    {"[[server]]", "line 8: server is an array, expected a table, [server]"},
    {"[retention]\ntenants = \"acme\"",
     "line 9: retention.tenants is a string, expected tables, [retention.tenants.NAME]"},
    {"[retention.tenants]\nacme = \"1h\"",
     "line 9: retention.tenants.acme is a string, expected a table, [retention.tenants.NAME]"},
};
INSTANTIATE_TEST_SUITE_P(Types, BadConfig, ::testing::ValuesIn(kTypes));

constexpr BadCase kRanges[] = {
    {"shards = 65", "line 8: storage.shards is 65, range is 1 to 64 shards"},
    {"shards = -1", "line 8: storage.shards is -1, range is 1 to 64 shards"},
    {"memtable_bytes = \"15MiB\"",
     "line 8: storage.memtable_bytes is \"15MiB\", range is 16MiB to 8GiB"},
    {"[retention]\nmax_ttl = \"25h\"", "line 9: retention.max_ttl is \"25h\", range is 1s to 24h"},
    {"[server]\ndrain_timeout = \"-5s\"",
     "line 9: server.drain_timeout is \"-5s\", range is 0 to 10m"},
    {"[server]\ndrain_timeout = \"inf\"",
     "line 9: server.drain_timeout is \"inf\", range is 0 to 10m"},
    {"[limits.tenants.acme]\nclaims_max = 0",
     "line 9: limits.tenants.acme.claims_max is 0, range is 1 to 10000000 claims"},
};
INSTANTIATE_TEST_SUITE_P(Ranges, BadConfig, ::testing::ValuesIn(kRanges));

constexpr BadCase kRules[] = {
    {"[retention]\nmax_ttl = \"1h\"\ndefault_ttl = \"2h\"",
     "line 10: retention.default_ttl is 2h, limit is retention.max_ttl, 1h"},
    {"[retention]\ntombstone_ttl = \"10m\"",
     "line 9: retention.tombstone_ttl is 10m, minimum is 2 x limits.id_window + 1m, 11m"},
    {"[limits]\nid_window = \"1h\"",
     "line 9: retention.tombstone_ttl is 15m by default, minimum is 2 x limits.id_window + 1m, "
     "2h1m"},
    // A rule with a refused setting in it is left out.
    {"[limits]\nid_window = \"5s\"\n[retention]\ntombstone_ttl = \"10m\"",
     "line 9: limits.id_window is \"5s\", range is 10s to 1h"},
    {"[retention.tenants.acme]\ntombstone_ttl = \"10m59s\"",
     "line 9: retention.tenants.acme.tombstone_ttl is 10m59s, minimum is 2 x limits.id_window + "
     "1m, 11m"},
    {"[retention]\nmax_ttl = \"1h\"\n[retention.tenants.acme]\nmax_ttl = \"2h\"",
     "line 11: retention.tenants.acme.max_ttl is 2h, limit is retention.max_ttl, 1h"},
    {"[retention.tenants.acme]\nmax_ttl = \"1h\"\ndefault_ttl = \"61m\"",
     "line 10: retention.tenants.acme.default_ttl is 1h1m, limit is "
     "retention.tenants.acme.max_ttl, 1h"},
    {"[claims]\nlease_max = \"29s\"",
     "line 9: claims.lease_default is 30s by default, limit is claims.lease_max, 29s"},
    {"[claims]\nlease_total_max = \"9m\"",
     "line 9: claims.lease_max is 10m by default, limit is claims.lease_total_max, 9m"},
    {"[limits]\nconnection_unsent_bytes_max = \"63MiB\"",
     "line 9: limits.connection_unsent_bytes_max is 63MiB, minimum is limits.message_bytes_max, "
     "64MiB"},
    {"[limits]\nmessage_bytes_max = \"32MiB\"\nunsent_bytes_max = \"31MiB\"",
     "line 10: limits.unsent_bytes_max is 31MiB, minimum is limits.message_bytes_max, 32MiB"},
};
INSTANTIATE_TEST_SUITE_P(Rules, BadConfig, ::testing::ValuesIn(kRules));

TEST(ParseConfig, ReportsAllMistakesAtOnceInTheOrderOfTheFile) {
  EXPECT_EQ(ErrorOf(R"([server]
drain_timeout = 30
lissten = "127.0.0.1:1"
[tls]
ca_file = ""
key_file = "server.key"
[retention]
default_ttl = "2h"
max_ttl = "1h"
[retention.tenants.acme]
tombstone_ttl = "1s"
)"),
            R"(storage.data_dir is missing, expected a path in quotes
keys.root_key_file is missing, expected a path in quotes, or keys.root_key_credential instead
line 2: server.drain_timeout is 30, expected a duration in quotes with a unit, such as "30s", 0 to 10m
line 3: server.lissten is not a setting, did you mean server.listen?
line 4: tls.certificate_file is missing, expected a path in quotes
line 5: tls.ca_file is empty, expected a path in quotes
line 8: retention.default_ttl is 2h, limit is retention.max_ttl, 1h
line 11: retention.tenants.acme.tombstone_ttl is "1s", range is 1m20s to 24h)");
}

TEST(ParseConfig, NamesTheLineOfATomlMistake) {
  EXPECT_THAT(ErrorOf("[server]\nlisten = \n"), HasSubstr("line 2: not TOML: "));
  EXPECT_THAT(ErrorOf("[server]\na = 1\na = 2\n"), HasSubstr("line 3: not TOML: "));
}

TEST(ParseConfig, NeverRepeatsWhatMayBeAKey) {
  constexpr char kKey[] = "c0ffee00c0ffee00c0ffee00c0ffee00";
  for (const std::string& text : {
           absl::StrCat("[keys]\nroot_key_credential = \"/", kKey, "\""),
           absl::StrCat("[keys]\nroot_key_file = [\"", kKey, "\"]"),
           absl::StrCat("[keys]\nroot_key = \"", kKey, "\""),
           absl::StrCat("[keys]\nroot_key_file = ", kKey),
           absl::StrCat("[storage]\ndata_dir = \"/d\"\n[keys]\nroot_key_file = \"/d/", kKey, "\""),
       }) {
    const std::string error = ErrorOf(text);
    EXPECT_THAT(error, HasSubstr("line "));
    EXPECT_THAT(error, Not(HasSubstr(std::string(kKey).substr(0, 8)))) << text;
  }
}

TEST(ParseConfig, CutsAndEscapesWhatItShows) {
  const std::string error =
      ErrorOf(Complete(absl::StrCat("durability = \"\\n", std::string(5000, 'x'), "\"")));
  EXPECT_THAT(error, HasSubstr(absl::StrCat("\"\\n", std::string(63, 'x'), "...\"")));
  EXPECT_LT(error.size(), 200);
}

TEST(ParseConfig, RefusesARootKeyInsideTheDataDirectoryHoweverItIsSpelled) {
  const auto refuses = [](absl::string_view data_dir, absl::string_view root_key) {
    const std::string error =
        ErrorOf(absl::StrCat("tls = {ca_file = \"a\", certificate_file = \"b\", key_file = "
                             "\"c\"}\n[storage]\ndata_dir = \"",
                             data_dir, "\"\n[keys]\nroot_key_file = \"", root_key, "\"\n"));
    if (error.empty()) return false;
    EXPECT_EQ(error,
              "line 5: keys.root_key_file is inside storage.data_dir, expected a path outside it");
    return true;
  };
  EXPECT_TRUE(refuses("/data", "/data/root.key"));
  EXPECT_TRUE(refuses("/data/", "/data/sub/root.key"));
  EXPECT_TRUE(refuses("/data", "/etc/../data/./root.key"));
  EXPECT_TRUE(refuses("/data/../d", "/d/root.key"));
  EXPECT_TRUE(refuses("data", "./data/root.key"));
  EXPECT_TRUE(refuses(".", "root.key"));
  EXPECT_TRUE(refuses("/data", "/data"));
  EXPECT_FALSE(refuses("/data", "/database/root.key"));
  EXPECT_FALSE(refuses("/data", "/data/../root.key"));
  EXPECT_FALSE(refuses("data", "root.key"));
  EXPECT_FALSE(refuses("/data/store", "/data/root.key"));
}

TEST(ParseConfig, RefusesTwoRootKeys) {
  EXPECT_EQ(
      ErrorOf(absl::StrCat("keys.root_key_credential = \"root\"\n", Complete(""))),
      "line 1: keys.root_key_credential is set in addition to keys.root_key_file, expected one of "
      "them");
}

TEST(ParseConfig, TakesARootKeyFromACredentialInstead) {
  const auto config = ParseConfig(R"([tls]
ca_file = "ca.pem"
certificate_file = "server.pem"
key_file = "server.key"
[storage]
data_dir = "/var/lib/mayfly"
[keys]
root_key_credential = "mayfly-root-key"
)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->keys.root_key_credential, "mayfly-root-key");
  EXPECT_EQ(config->keys.root_key_file, "");
}

TEST(ParseConfig, ReadsEveryKindOfValue) {
  const auto config = ParseConfig(Complete(R"(durability = "relaxed"
memtable_bytes = 33554432
disk_reserve_bytes = "1GiB"
shards = 4
accept_data_loss = true
[server]
listen = "[::]:0"
drain_timeout = "1m30s"
[retention]
max_ttl = "90m"
default_ttl = "1.5h"
[log]
level = "critical"
)"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->storage.durability, Config::Durability::kRelaxed);
  EXPECT_EQ(config->storage.memtable_bytes, 33554432);
  EXPECT_EQ(config->storage.disk_reserve_bytes, 1073741824);
  EXPECT_EQ(config->storage.shards, 4);
  EXPECT_TRUE(config->storage.accept_data_loss);
  EXPECT_EQ(config->server.listen, "[::]:0");
  EXPECT_EQ(config->server.drain_timeout, absl::Seconds(90));
  EXPECT_EQ(config->retention.default_ttl, absl::Minutes(90));
  EXPECT_EQ(config->log.level, Config::LogLevel::kCritical);
  EXPECT_EQ(config->tls.ca_file, "ca.pem");
}

TEST(ParseConfig, LetsADefaultTtlThatNobodySetFollowALowerMaximum) {
  const auto config = ParseConfig(Complete(R"([retention]
max_ttl = "2h"
[retention.tenants.acme]
max_ttl = "1h"
)"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->retention.default_ttl, absl::Hours(2));
  EXPECT_EQ(config->RetentionFor("acme").default_ttl, absl::Hours(1));
}

TEST(Tenants, HaveTheirOwnRetentionAndOtherwiseThatOfAll) {
  const auto config = ParseConfig(Complete(R"([retention.tenants.acme]
max_ttl = "1h"
[retention.tenants.zeta]
default_ttl = "5m"
tombstone_ttl = "20m"
[retention]
max_ttl = "2h"
default_ttl = "30m"
)"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->RetentionFor("acme").max_ttl, absl::Hours(1));
  EXPECT_EQ(config->RetentionFor("acme").default_ttl, absl::Minutes(30));
  EXPECT_EQ(config->RetentionFor("acme").tombstone_ttl, absl::Minutes(15));
  EXPECT_EQ(config->RetentionFor("zeta").max_ttl, absl::Hours(2));
  EXPECT_EQ(config->RetentionFor("zeta").default_ttl, absl::Minutes(5));
  EXPECT_EQ(config->RetentionFor("zeta").tombstone_ttl, absl::Minutes(20));
  EXPECT_EQ(config->RetentionFor("other").max_ttl, absl::Hours(2));
  EXPECT_EQ(config->RetentionFor("other").default_ttl, absl::Minutes(30));
  EXPECT_EQ(config->RetentionFor("").tombstone_ttl, absl::Minutes(15));
}

TEST(Tenants, HaveTheirOwnLimitsAndOtherwiseThoseOfAll) {
  const auto config = ParseConfig(Complete(R"([limits.tenants.acme]
live_calls_max = 7
claims_max = 8
[limits.tenants.zeta]
live_bytes_max = "1GiB"
operations_per_second_max = 9
[limits]
live_calls_max = 100
[claims]
outstanding_max = 50
)"));
  ASSERT_TRUE(config.ok()) << config.status();
  const Config::TenantLimits acme = config->LimitsFor("acme");
  EXPECT_EQ(acme.live_calls_max, 7);
  EXPECT_EQ(acme.live_bytes_max, 0);
  EXPECT_EQ(acme.operations_per_second_max, 0);
  EXPECT_EQ(acme.claims_max, 8);
  const Config::TenantLimits zeta = config->LimitsFor("zeta");
  EXPECT_EQ(zeta.live_calls_max, 100);
  EXPECT_EQ(zeta.live_bytes_max, 1073741824);
  EXPECT_EQ(zeta.operations_per_second_max, 9);
  EXPECT_EQ(zeta.claims_max, 50);
  EXPECT_EQ(config->LimitsFor("other").live_calls_max, 100);
  EXPECT_EQ(config->LimitsFor("other").claims_max, 50);
}

class LoadConfigTest : public ::testing::Test {
 protected:
  LoadConfigTest() {
    std::string pattern = ::testing::TempDir() + "mayfly-config-XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~LoadConfigTest() override { std::filesystem::remove_all(directory_); }

  std::string Write(absl::string_view text) {
    const std::string path = directory_ + "/mayfly.toml";
    std::ofstream(path) << text;
    return path;
  }

  std::string directory_;
};

TEST_F(LoadConfigTest, TakesRelativePathsFromTheDirectoryOfTheFile) {
  const auto config =
      LoadConfig(Write(Complete("[log]\nfile = \"../log.json\"\n[server]\nport_file = \"\"\n")));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->tls.ca_file, directory_ + "/ca.pem");
  EXPECT_EQ(config->keys.root_key_file, "/etc/mayfly/root.key");
  EXPECT_EQ(config->log.file,
            std::filesystem::path(directory_).parent_path().string() + "/log.json");
  EXPECT_EQ(config->server.port_file, "") << "no file is not the directory";
}

TEST_F(LoadConfigTest, ReadsAFileThatMayNotBeWritten) {
  const std::string path = Write(Complete(""));
  ASSERT_EQ(chmod(path.c_str(), 0400), 0);
  EXPECT_TRUE(LoadConfig(path).ok());
}

TEST_F(LoadConfigTest, RefusesARelativeRootKeyInsideAnAbsoluteDataDirectory) {
  const auto config =
      LoadConfig(Write(absl::StrCat("tls = {ca_file = \"a\", certificate_file = \"b\", key_file = "
                                    "\"c\"}\n[storage]\ndata_dir = \"",
                                    directory_, "\"\n[keys]\nroot_key_file = \"root.key\"\n")));
  EXPECT_EQ(config.status().message(),
            absl::StrCat(directory_,
                         "/mayfly.toml: line 5: keys.root_key_file is inside "
                         "storage.data_dir, expected a path outside it"));
}

TEST_F(LoadConfigTest, NamesFileLineAndNearestSettingOfEveryMistake) {
  const std::string path = Write(Complete("[sever]\nlisten = 1\n[claims]\nleese_max = 1\n"));
  const absl::StatusOr<Config> config = LoadConfig(path);
  const std::vector<std::string> lines = absl::StrSplit(config.status().message(), '\n');
  ASSERT_EQ(lines.size(), 2u) << config.status();
  EXPECT_THAT(lines[0],
              testing::MatchesRegex(
                  path + ": line [0-9]+: sever is not a section, did you mean server\\?"));
  EXPECT_THAT(lines[1],
              testing::MatchesRegex(path + ": line [0-9]+: claims.leese_max is not a setting, did "
                                           "you mean claims.lease_max\\?"));
  EXPECT_THAT(std::string(LoadConfig(Write("listen = 1\n")).status().message()),
              testing::EndsWith("\n" + path +
                                ": line 1: listen is not a section, did you mean "
                                "server.listen?"));
  EXPECT_THAT(std::string(LoadConfig(Write("[server\n")).status().message()),
              testing::StartsWith(path + ": line 1: not TOML: "));
}

TEST_F(LoadConfigTest, SaysWhyAFileCannotBeRead) {
  EXPECT_EQ(LoadConfig(directory_ + "/absent.toml").status(),
            absl::NotFoundError(absl::StrCat("the configuration file ", directory_,
                                             "/absent.toml cannot be read: No such file or "
                                             "directory")));
  EXPECT_EQ(LoadConfig(directory_).status(),
            absl::UnavailableError(absl::StrCat("the configuration file ", directory_,
                                                " cannot be read: Is a directory")));
  EXPECT_EQ(LoadConfig(Write(std::string((1 << 20) + 1, '#'))).status().code(),
            absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace mayfly
