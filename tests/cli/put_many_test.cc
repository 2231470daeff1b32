// put-input --all, as a user sees it.
#include <filesystem>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/binary_fixture.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;

class PutManyTest : public BinaryFixture {
 protected:
  // With a file "a".
  static std::string NewDirectory(const std::string& name) {
    std::filesystem::create_directory(scratch_->Path(name));
    scratch_->Write(name + "/a", "input a");
    return scratch_->Path(name);
  }
};

// The rest of such a name would be a line of the list, with the id of another call.
TEST_F(PutManyTest, ANameWithAControlCharacterIsRefusedBeforeAnythingIsSent) {
  const std::string directory = NewDirectory("names");
  for (const std::string& name : {absl::StrCat("z\n", kNobodys), std::string("z\tb")}) {
    const std::string file = scratch_->Write("names/" + name, "x");
    for (const std::string& argument : {directory, file}) {
      const Finished run = Mayfly({"put-input", "--all", argument});
      EXPECT_EQ(run.exit_code, 2);
      EXPECT_EQ(run.out, "");
      EXPECT_THAT(run.err, HasSubstr(name[1] == '\t' ? "z\\tb has a control character"
                                                     : absl::StrCat("z\\n", kNobodys)));
      EXPECT_THAT(run.err, HasSubstr("; rename it\n"));
    }
    std::filesystem::remove(file);
  }
  EXPECT_EQ(server_.CountOf("PutInputs"), 0);
}

TEST_F(PutManyTest, AMissingFileDoesNotStopTheOthersAndSkippedOnesAreNamed) {
  const std::string directory = NewDirectory("mixed");
  std::filesystem::create_directory(directory + "/sub");
  std::filesystem::create_symlink("nowhere", directory + "/dangling");
  std::filesystem::create_symlink("/dev/null", directory + "/device");
  const Finished run = Mayfly({"put-input", "--all", "/nonexistent", directory});
  EXPECT_EQ(run.exit_code, 5);
  EXPECT_THAT(run.out, testing::EndsWith("\t" + directory + "/a\n"));
  for (const std::string& part :
       {std::string("FILE /nonexistent cannot be read: No such file or directory"),
        directory + "/sub is skipped: it is a directory\n",
        directory + "/dangling is skipped: it is a link to no file\n",
        directory + "/device is skipped: it is not a regular file\n"}) {
    EXPECT_THAT(run.err, HasSubstr(part));
  }
  EXPECT_EQ(Mayfly({"put-input", "--all", directory}).exit_code, 0);
}

}  // namespace
}  // namespace mayfly
