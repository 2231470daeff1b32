// The first screen of README, pasted into a shell.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/real_server_fixture.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;

class ReadmeTest : public RealServerFixture {
 protected:
  ReadmeTest() {
    const std::string directory = server_->certificates() + "/";
    std::filesystem::create_directories(scratch_.Path(".config/mayfly"));
    scratch_.Write(".config/mayfly/config.toml",
                   absl::StrCat("[profiles.worker]\ncert = '", directory, "worker.pem'\nkey = '",
                                directory, "worker.key'\n"));
  }

  // The first block, without the line that sets the environment.
  static std::string FirstScreen() {
    std::ifstream readme(README_PATH);
    std::string text;
    std::string line;
    while (std::getline(readme, line) && line != "```") continue;
    while (std::getline(readme, line) && line != "```") {
      if (!absl::StartsWith(line, ". ")) absl::StrAppend(&text, line, "\n");
    }
    return text;
  }
  static std::string LineWith(const std::string& part) {
    std::istringstream lines(FirstScreen());
    std::string line;
    while (std::getline(lines, line) && line.find(part) == std::string::npos) continue;
    return line;
  }
};

TEST_F(ReadmeTest, TheFirstScreenDoesWhatItShows) {
  const Finished run = Shell("set +e\n" + FirstScreen());
  EXPECT_EQ(run.out, "A MAYFLY LIVES A DAY\n");
  EXPECT_EQ(run.end.exit_code, 3);
  EXPECT_THAT(run.err, HasSubstr("not found: the output was retrieved and acknowledged "
                                 "(OUTPUT_CONSUMED)\n"));
}

// The profile of the worker comes before the environment and after the option.
TEST_F(ReadmeTest, AWorkerThatGetsNoInputStoresNoOutput) {
  const std::string call_id = NewCall();
  std::string line = LineWith("mayfly get-input");
  const std::string get = "mayfly get-input $call";
  ASSERT_EQ(line.find(get), 0) << line;
  line.insert(get.size(), " --key /nonexistent");
  const Finished run = Shell(absl::StrCat("set +e +o pipefail\ncall=", call_id, "\n", line));
  EXPECT_NE(run.end.exit_code, 0);
  EXPECT_EQ(StateOf(call_id), client::CallState::kPending);
}

}  // namespace
}  // namespace mayfly
