// The program in include/mayfly/client.h does what it says there.
#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "support/test_server.h"

namespace mayfly {
namespace {

class Example : public testing::Test {
 protected:
  Example() { server_.Start(); }
  std::string target() const { return absl::StrCat("localhost:", server_.port()); }

  TestServer server_{"[storage]\ndurability = \"relaxed\"\n"};
};

TEST_F(Example, RetrievesOneCallAndAMapOfAThousand) {
  for (int round = 0; round < 2; ++round) {
    const ProgramResult result =
        RunProgram({CLIENT_EXAMPLE_PATH, target(), server_.certificates()});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.output, "hello!\n2000\n");
  }
  EXPECT_EQ(server_.Stop(), 0) << server_.Log();
}

TEST_F(Example, SaysWhatWentWrong) {
  const ProgramResult result = RunProgram({CLIENT_EXAMPLE_PATH, target(), "/nonexistent"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.output.find("ca_file is /nonexistent"), std::string::npos) << result.output;
  EXPECT_EQ(RunProgram({CLIENT_EXAMPLE_PATH}).exit_code, 2);
}

}  // namespace
}  // namespace mayfly
