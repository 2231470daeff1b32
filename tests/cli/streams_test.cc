// The standard streams of the program: names that lead to them, those that take nothing, and closed ones.
#include <filesystem>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/binary_fixture.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;

class StreamsTest : public BinaryFixture {};

// The shell's file would be left behind under no name.
TEST_F(StreamsTest, AnOutputFileThatLeadsToStdoutIsRefused) {
  const std::string id = PutInput("input");
  std::filesystem::create_symlink("/proc/self/fd/1", scratch_->Path("to-stdout"));
  std::filesystem::create_symlink("to-stdout", scratch_->Path("to-link"));
  for (const std::string& path :
       {"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/null", "to-stdout", "./to-link"}) {
    const Finished run = Shell(absl::StrCat("exec 5>kept; mayfly get-input ", id, " --output ",
                                            path, " >&5; code=$?; echo more >&5; exit $code"));
    EXPECT_EQ(run.exit_code, 2) << path;
    EXPECT_EQ(run.err, absl::StrCat("mayfly: --output ", path,
                                    " leads to /dev or /proc, where no file can be replaced; leave "
                                    "--output out to write to stdout\n"));
    EXPECT_EQ(scratch_->Read("kept"), "more\n") << path;
  }
  EXPECT_EQ(server_.CountOf("GetInputs") + server_.CountOf("Download"), 0);
}

}  // namespace
}  // namespace mayfly
