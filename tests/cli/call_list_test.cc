#include "cli/call_list.h"

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/scratch.h"

namespace mayfly::cli {
namespace {

using ::testing::ElementsAre;

constexpr char kFirst[] = "01a20d9f-dceb-7674-89e9-9062898f8747";
constexpr char kSecond[] = "01a20d9f-dcec-7674-89e9-9062898f8747";

class CallListTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::vector<std::string>> Read(const std::string& text) {
    return ReadCallList(scratch_.Write("ids", text), -1);
  }

  const Scratch scratch_;
};

TEST_F(CallListTest, HasEachIdOnceInTheFilesOrder) {
  const std::string text = std::string(" ") + kSecond + "\r\n\n# a comment\n" + kFirst + "\n" +
                           kSecond + "\n01A20D9F-DCEB-7674-89E9-9062898F8747";
  EXPECT_THAT(*Read(text), ElementsAre(kSecond, kFirst));
  EXPECT_THAT(*Read(""), ElementsAre());
}

TEST_F(CallListTest, RefusesWhatIsNoIdWithItsLine) {
  for (const char* bad : {"../../etc/passwd", "x", "01a20d9f-dceb-4674-89e9-9062898f8747"}) {
    EXPECT_EQ(Read(std::string(kFirst) + "\n" + bad + "\n").status(),
              absl::InvalidArgumentError(
                  absl::StrCat("--all ", scratch_.Path("ids"), ": line 2 is no call id: ", bad)));
  }
  EXPECT_EQ(Read(std::string(100, 'x') + "\n").status().message(),
            absl::StrCat("--all ", scratch_.Path("ids"),
                         ": line 1 is no call id: ", std::string(80, 'x'), "..."));
}

TEST_F(CallListTest, SaysWhyItCannotBeRead) {
  EXPECT_EQ(ReadCallList("/nonexistent", -1).status().message(),
            "the list of calls: FILE /nonexistent cannot be read: No such file or directory");
}

}  // namespace
}  // namespace mayfly::cli
