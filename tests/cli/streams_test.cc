// The standard streams of the program: names that lead to them, full ones, and closed ones.
#include <algorithm>
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
  for (const char* const path :
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

TEST_F(StreamsTest, AListThatNobodyReadsIsOneError) {
  std::string list;
  for (int i = 0; i < 20; ++i) absl::StrAppend(&list, PutInput("x"), "\n");
  scratch_->Write("list", list);
  for (const char* const command : {"describe --all list", "--json describe --all list", "info",
                                    "--json delete --all list", "--help", "completion bash"}) {
    const Finished run = Shell(absl::StrCat("mayfly ", command, " >/dev/full"));
    EXPECT_EQ(run.exit_code, 5) << command;
    EXPECT_THAT(run.err, HasSubstr("stdout cannot be written to: No space left on device"))
        << command;
    EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
  }
}

TEST_F(StreamsTest, NothingIsPutWhoseIdCannotBePrinted) {
  std::filesystem::create_directory(scratch_->Path("inputs"));
  scratch_->Write("inputs/a", "input a");
  scratch_->Write("inputs/b", std::string(3 << 20, 'b'));
  scratch_->Write("inputs/c", "input c");
  const Finished run = Shell("mayfly put-input --all inputs >/dev/full");
  EXPECT_EQ(run.exit_code, 5);
  EXPECT_EQ(server_.CountOf("PutInputs"), 1);
  EXPECT_EQ(server_.CountOf("Upload"), 0);
  const std::string id = server_.RequestsOf<v1::PutInputsRequest>()[0].items(0).call_id();
  EXPECT_EQ(
      run.err,
      absl::StrCat("mayfly: failed precondition: stdout cannot be written to: No space left on "
                   "device\nmayfly: call ",
                   id,
                   ": failed precondition: inputs/a: the input is stored, and is not in "
                   "the list\n"));
}

// Otherwise the next file or connection that the program opens has the number.
TEST_F(StreamsTest, AClosedStreamIsSaidAndNotTakenForAnother) {
  const std::string id = PutInput("input");
  const Finished put = Shell("mayfly put-input <&-");
  EXPECT_EQ(put.exit_code, 5);
  EXPECT_EQ(put.err, "mayfly: stdin is closed\n");
  EXPECT_EQ(Shell("mayfly describe --all - <&-").err,
            "mayfly: the list of calls: stdin is closed\n");
  const Finished get = Shell(absl::StrCat("mayfly get-input ", id, " >&-"));
  EXPECT_EQ(get.exit_code, 5);
  EXPECT_THAT(get.err, HasSubstr(absl::StrCat("call ", id, ": ")));
  EXPECT_THAT(get.err, HasSubstr("stdout is closed\n"));
  EXPECT_THAT(Shell("mayfly info >&-").err, HasSubstr("stdout is closed\n"));
  EXPECT_EQ(Shell(absl::StrCat("mayfly describe ", id, " <&- 2>&-")).exit_code, 0);
  EXPECT_EQ(Shell(absl::StrCat("mayfly retrieve ", kNever, " --wait 1ms 2>&-")).exit_code, 3);
}

}  // namespace
}  // namespace mayfly
