#include "cli/command_line.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace mayfly::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kCall[] = "01a20d9f-dceb-7674-89e9-9062898f8747";

class CommandLineTest : public testing::Test {
 protected:
  std::variant<CommandLine, ExitCode> Parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "mayfly");
    out_.str("");
    err_.str("");
    return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data(), &out_, &err_);
  }

  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(CommandLineTest, ReadsEverythingOfAPut) {
  const auto line = std::get<CommandLine>(Parse(
      {"put-output", kCall, "the-file", "--attempt", "3", "--outcome", "timeout", "--ttl", "1h30m",
       "--content-type", "text/plain", "--label", "a=b=c", "--label", "d=", "--json"}));
  EXPECT_EQ(line.verb, Verb::kPutOutput);
  EXPECT_THAT(line.call_ids, ElementsAre(kCall));
  EXPECT_EQ(line.payload_file, "the-file");
  EXPECT_EQ(line.attempt, 3);
  EXPECT_EQ(line.outcome, client::Outcome::kTimeout);
  EXPECT_EQ(line.ttl, absl::Minutes(90));
  EXPECT_EQ(line.metadata.content_type, "text/plain");
  EXPECT_THAT(line.metadata.labels, ElementsAre(std::pair("a", "b=c"), std::pair("d", "")));
  EXPECT_TRUE(line.json);
}

TEST_F(CommandLineTest, ALabelDoesNotSwallowTheFile) {
  const auto line = std::get<CommandLine>(Parse({"put-input", "--label", "a=b", "the-file"}));
  EXPECT_EQ(line.payload_file, "the-file");
}

TEST_F(CommandLineTest, GlobalFlagsStandAnywhere) {
  const auto line = std::get<CommandLine>(
      Parse({"--server", "a:1", "retrieve", kCall, "--timeout", "3s", "--wait", "2m"}));
  EXPECT_EQ(line.settings.server, "a:1");
  EXPECT_EQ(line.timeout, absl::Seconds(3));
  EXPECT_EQ(line.wait, absl::Minutes(2));
}

TEST_F(CommandLineTest, ReadsARetrievalOfMany) {
  const auto line =
      std::get<CommandLine>(Parse({"retrieve", "--all", "-", "--dir", "out", "--wait", "1h"}));
  EXPECT_EQ(line.verb, Verb::kRetrieve);
  EXPECT_EQ(line.list_file, "-");
  EXPECT_EQ(line.directory, "out");
  EXPECT_EQ(line.wait, absl::Hours(1));
}

TEST_F(CommandLineTest, EveryMistakeIsAUsageErrorOfOneLine) {
  for (const std::vector<const char*>& arguments : std::vector<std::vector<const char*>>{
           {},
           {"fly"},
           {"retrieve"},
           {"retrieve", kCall, kCall},
           {"retrieve", kCall, "--all", "f", "--dir", "d"},
           {"retrieve", "--all", "f"},
           {"retrieve", "--dir", "d"},
           {"retrieve", kCall, "--dir", "d"},
           {"retrieve", "--all", "f", "--dir", "d", "--output", "o"},
           {"describe"},
           {"retrieve", kCall, "--wait"},
           {"retrieve", kCall, "--wait", "soon"},
           {"retrieve", kCall, "--wait", "-1s"},
           {"put-output", kCall, "--attempt", "0"},
           {"put-output", kCall, "--attempt", "4294967296"},
           {"put-output", kCall, "--outcome", "sad"},
           {"put-input", "--label", "=x"},
           {"put-input", "--label", "x"},
           {"completion"},
           {"completion", "fish"},
           {"put-input", "--colour"},
           {"describe", kCall, "--all", "f"},
           {"put-input", "f", "--all", "d"},
           {"retrieve", kCall, "--missing", "f"}}) {
    const auto result = Parse(arguments);
    ASSERT_TRUE(std::holds_alternative<ExitCode>(result)) << testing::PrintToString(arguments);
    EXPECT_EQ(std::get<ExitCode>(result), kExitUsage);
    EXPECT_EQ(out_.str(), "");
    EXPECT_THAT(err_.str(), testing::StartsWith("mayfly: "));
    EXPECT_EQ(err_.str().find('\n'), err_.str().size() - 1) << err_.str();
  }
}

TEST_F(CommandLineTest, AMistakeNamesTheWordAndWhatWasMeant) {
  const auto error = [this](const std::vector<const char*>& arguments) {
    EXPECT_TRUE(std::holds_alternative<ExitCode>(Parse(arguments)));
    return err_.str();
  };
  EXPECT_EQ(error({"put-inptu"}), "mayfly: put-inptu is no command, did you mean put-input?\n");
  EXPECT_EQ(error({"--server", "retrieve", "retreive"}),
            "mayfly: retreive is no command, did you mean retrieve?\n");
  EXPECT_THAT(error({"frobnicate"}), HasSubstr("frobnicate is no command, expected put-input, "));
  EXPECT_THAT(error({}), HasSubstr("expected a command: put-input, get-input, "));
  EXPECT_EQ(error({"put-input", "a", "b", "c"}),
            "mayfly: b is one argument too many for put-input; see mayfly put-input --help\n");
  EXPECT_EQ(error({"describe", "--sever", "x", kCall}),
            "mayfly: unknown option --sever, did you mean --server?; see mayfly describe --help\n");
  EXPECT_EQ(error({"--bogus"}), "mayfly: unknown option --bogus; see mayfly --help\n");
  EXPECT_EQ(error({"describe", "-x", kCall}),
            "mayfly: unknown option -x; see mayfly describe --help\n");
  EXPECT_EQ(error({"retrieve", "abc"}),
            "mayfly: CALL: abc is no call id, it has 3 characters, a UUID has 36; see mayfly "
            "retrieve --help\n");
  EXPECT_THAT(error({"put-input", "--call-id", "abc"}), HasSubstr("--call-id: abc is no call id"));
}

TEST_F(CommandLineTest, AMistakeIsJsonIfThatWasAskedForAnywhere) {
  for (const std::vector<const char*>& arguments :
       std::vector<std::vector<const char*>>{{"--json", "fly"},
                                             {"retrieve", "abc", "--json"},
                                             {"retrieve", kCall, "--wait", "soon", "--json"},
                                             {"put-input", "--colour", "--json"}}) {
    EXPECT_EQ(std::get<ExitCode>(Parse(arguments)), kExitUsage);
    const auto error = nlohmann::json::parse(err_.str(), nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(error.is_object()) << err_.str();
    EXPECT_EQ(error["error"]["code"], "INVALID_ARGUMENT");
    EXPECT_NE(error["error"]["message"], "");
  }
  Parse({"put-input", "a", "b", "--", "--json"});
  EXPECT_THAT(err_.str(), testing::StartsWith("mayfly: "));
}

TEST_F(CommandLineTest, AnOutcomeMayBeInCapitalsAsItIsPrinted) {
  const auto result = Parse({"put-output", kCall, "--outcome", "FAILURE"});
  ASSERT_TRUE(std::holds_alternative<CommandLine>(result)) << err_.str();
  EXPECT_EQ(std::get<CommandLine>(result).outcome, client::Outcome::kFailure);
}

TEST_F(CommandLineTest, HelpTellsExitCodesAndEnvironment) {
  EXPECT_EQ(std::get<ExitCode>(Parse({"--help"})), kExitDone);
  for (const char* part : {"MAYFLY_SERVER", "exit codes", "OUTPUT_PENDING", "retrieve"}) {
    EXPECT_THAT(out_.str(), HasSubstr(part));
  }
  const std::string help = out_.str();
  EXPECT_EQ(std::get<ExitCode>(Parse({"help"})), kExitDone);
  EXPECT_EQ(out_.str(), help);
  EXPECT_EQ(std::get<ExitCode>(Parse({"help", "retrieve"})), kExitDone);
  EXPECT_THAT(out_.str(), HasSubstr("--missing"));
  EXPECT_EQ(std::get<ExitCode>(Parse({"--version"})), kExitDone);
  EXPECT_THAT(out_.str(), HasSubstr("mayfly 0."));
}

}  // namespace
}  // namespace mayfly::cli
