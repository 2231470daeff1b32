// What a check of the data directory says without a start, and a start after it.
#include "storage/local/data_directory.h"

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <sys/stat.h>
#include <unistd.h>

#include "storage/storage_harness.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class DataDirectoryTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(storage_.Open().ok());
    storage_.Close();
  }
  std::string Path(const std::string& name) { return storage_.options.data_dir + "/" + name; }

  StorageHarness storage_;
};

TEST_F(DataDirectoryTest, TellsOfADirectoryThatAStartWouldRefuse) {
  const std::string& data_dir = storage_.options.data_dir;
  const auto check = [](const std::string& path, bool allow_unsafe = true) {
    return std::string(DataDirectory::Check(path, allow_unsafe).message());
  };
  EXPECT_EQ(check(data_dir), "");
  EXPECT_EQ(check(data_dir + "/not/there"),
            "storage.data_dir " + data_dir + "/not/there does not exist, and user " +
                std::to_string(geteuid()) + " cannot make it in " + data_dir +
                "/not: No such file or directory: make it with install -d -m 700 -o " +
                std::to_string(geteuid()) + " " + data_dir + "/not/there");
  EXPECT_FALSE(std::filesystem::exists(data_dir + "/not"));
  EXPECT_EQ(check(data_dir + "/new"), "");
  EXPECT_FALSE(std::filesystem::exists(data_dir + "/new"));
  EXPECT_THAT(check(Path("keys/slots")), HasSubstr("is not a directory"));
  for (const std::string name : {"", "db", "keys"}) {
    ASSERT_EQ(chmod(Path(name).c_str(), 0750), 0);
    EXPECT_THAT(check(data_dir), HasSubstr("has mode 0750, limit is 0700"));
    ASSERT_EQ(chmod(Path(name).c_str(), 0700), 0);
  }
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a directory away";
  for (const std::string name : {"", "db", "keys"}) {
    ASSERT_EQ(chown(Path(name).c_str(), 12345, 12345), 0);
    const std::string text = " belongs to user 12345, expected user 0, who runs the server: ";
    EXPECT_THAT(check(data_dir), HasSubstr(text));
    EXPECT_THAT(std::string(storage_.Open().message()), HasSubstr(text));
    ASSERT_EQ(chown(Path(name).c_str(), 0, 0), 0);
  }
}

TEST_F(DataDirectoryTest, RefusesMemoryUnlessToldOtherwise) {
  if (!absl::StartsWith(storage_.options.data_dir, "/dev/shm/")) GTEST_SKIP() << "no tmpfs";
  const std::string text = storage_.options.data_dir + " is on tmpfs";
  EXPECT_THAT(std::string(DataDirectory::Check(storage_.options.data_dir, false).message()),
              StartsWith(text));
  storage_.options.allow_unsafe_filesystem = false;
  const absl::Status refused = storage_.Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), StartsWith(storage_.options.data_dir));
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("is on tmpfs, which may be swapped out, where overwriting does not erase"));
}

}  // namespace
}  // namespace mayfly
