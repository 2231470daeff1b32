#include "keys/root_key.h"

#include <filesystem>
#include <fstream>
#include <stdlib.h>
#include <string>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "support/temporary_directory.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;

constexpr char kHex[] = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

class RootKeyTest : public testing::Test {
 protected:
  std::string WriteFile(const std::string& content, mode_t mode) {
    const std::string path = directory_ / "root.key";
    unlink(path.c_str());
    std::ofstream(path) << content;
    EXPECT_EQ(chmod(path.c_str(), mode), 0);
    return path;
  }

  TemporaryDirectory directory_;
};

TEST_F(RootKeyTest, ReadsSixtyFourDigitsWithAndWithoutANewline) {
  for (const std::string ending : {"", "\n"}) {
    const auto key = LoadRootKey(WriteFile(kHex + ending, 0600));
    ASSERT_TRUE(key.ok()) << key.status();
    ASSERT_EQ(key->size(), kRootKeySize);
    for (size_t i = 0; i < kRootKeySize; ++i) EXPECT_EQ(key->ExposeBytes()[i], i);
  }
}

TEST_F(RootKeyTest, RefusesEveryModeThatLetsOthersIn) {
  for (mode_t mode = 0; mode <= 0777; ++mode) {
    if ((mode & 0400) == 0) continue;  // would be refused by open, but not to root
    const auto key = LoadRootKey(WriteFile(kHex, mode));
    EXPECT_EQ(key.ok(), (mode & 077) == 0) << std::oct << mode;
    if (!key.ok()) {
      EXPECT_EQ(key.status().code(), absl::StatusCode::kFailedPrecondition);
    }
  }
  const std::string path = WriteFile(kHex, 0644);
  EXPECT_EQ(LoadRootKey(path).status().message(),
            absl::StrCat("keys.root_key_file ", path,
                         " has mode 0644, limit is 0600: run chmod 0600 ", path));
}

TEST_F(RootKeyTest, RefusesAnyOtherContent) {
  std::string wrong_digit = kHex;
  wrong_digit[63] = 'g';
  for (const std::string& content :
       {std::string(), std::string(kHex, 63), std::string(kHex) + "0", std::string(kHex) + "\n\n",
        std::string(kHex) + " ", std::string(kHex, 62) + "\n", "0x" + std::string(kHex, 62),
        wrong_digit}) {
    const auto key = LoadRootKey(WriteFile(content, 0600));
    EXPECT_EQ(key.status().code(), absl::StatusCode::kInvalidArgument) << content.size();
    EXPECT_THAT(key.status().message(), testing::Not(HasSubstr("0001020304")));
    EXPECT_THAT(key.status().message(),
                HasSubstr("root.key holds something else than 64 hexadecimal digits"));
  }
}

TEST_F(RootKeyTest, RefusesWhatIsNotARegularFile) {
  const absl::Status missing = LoadRootKey(directory_ / "nothing", "--option").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(
      missing.message(),
      absl::StrCat("--option ", directory_ / "nothing", " cannot be opened by user ", geteuid(),
                   ": No such file or directory: correct the setting, or for a new "
                   "store make the file with (umask 077; openssl rand -hex 32 >",
                   directory_ / "nothing", ")"));
  EXPECT_THAT(LoadRootKey(directory_.path()).status().message(), HasSubstr("not a regular file"));
  const std::string fifo = directory_ / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THAT(LoadRootKey(fifo).status().message(), HasSubstr("not a regular file"));
  EXPECT_EQ(LoadRootKey("/dev/null").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RootKeyTest, RefusesAFileOfAnotherUser) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  const std::string path = WriteFile(kHex, 0600);
  ASSERT_EQ(chown(path.c_str(), 12345, 12345), 0);
  EXPECT_THAT(
      LoadRootKey(path).status().message(),
      HasSubstr(absl::StrCat("belongs to user 12345, expected user 0, who runs the server, or "
                             "root: run chown 0 ",
                             path)));
}

TEST_F(RootKeyTest, IsFoundAsACredential) {
  WriteFile(kHex, 0440);
  unsetenv("CREDENTIALS_DIRECTORY");
  const absl::Status outside = LoadRootKeyCredential("root.key").status();
  EXPECT_EQ(outside.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(outside.message(), HasSubstr("LoadCredential=root.key:FILE"));
  setenv("CREDENTIALS_DIRECTORY", directory_.path().c_str(), 1);
  EXPECT_TRUE(LoadRootKeyCredential("root.key").ok());
  EXPECT_FALSE(LoadRootKey(directory_ / "root.key").ok()) << "0440 is for credentials only";
  EXPECT_EQ(LoadRootKeyCredential("other").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(LoadRootKeyCredential("../root.key").status().code(),
            absl::StatusCode::kInvalidArgument);
  WriteFile(kHex, 0444);
  EXPECT_EQ(
      LoadRootKeyCredential("root.key").status().message(),
      absl::StrCat("keys.root_key_credential ", directory_ / "root.key",
                   " has mode 0444, limit is 0440: run chmod 0440 ", directory_ / "root.key"));
  unsetenv("CREDENTIALS_DIRECTORY");
}

TEST_F(RootKeyTest, MustLieOutsideTheDataDirectory) {
  namespace fs = std::filesystem;
  const std::string key = WriteFile(kHex, 0600);
  const std::string data = directory_ / "data";
  fs::create_directories(data + "/deep");
  fs::create_directories(directory_ / "data-beside");
  fs::copy_file(key, data + "/deep/root.key");
  fs::copy_file(key, directory_ / "data-beside/root.key");
  fs::create_symlink(data + "/deep/root.key", directory_ / "link.key");
  fs::create_directory_symlink(data, directory_ / "other_name");

  EXPECT_TRUE(CheckOutside(key, data).ok());
  EXPECT_TRUE(CheckOutside(directory_ / "data-beside/root.key", data).ok());
  EXPECT_TRUE(CheckOutside(data + "/../root.key", data).ok());
  EXPECT_EQ(CheckOutside(data + "/deep/root.key", data).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(CheckOutside(directory_ / "link.key", data).ok());
  EXPECT_FALSE(CheckOutside(directory_ / "other_name/deep/root.key", data).ok());
  EXPECT_FALSE(CheckOutside(data + "/deep/root.key", directory_ / "other_name/").ok());
  EXPECT_FALSE(CheckOutside(key, "/").ok());
  EXPECT_FALSE(CheckOutside(directory_ / "nothing", data).ok());
}

}  // namespace
}  // namespace mayfly
