#include "keys/key_directory.h"

#include <fstream>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "support/temporary_directory.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;

// statfs(2), written down here again so that a wrong number there shows.
constexpr uint64_t kExt4 = 0xef53;
constexpr uint64_t kXfs = 0x58465342;
constexpr uint64_t kTmpfs = 0x01021994;
constexpr uint64_t kOverlayfs = 0x794c7630;
constexpr uint64_t kBtrfs = 0x9123683e;
constexpr uint64_t kZfs = 0x2fc12fc1;
constexpr uint64_t kBcachefs = 0xca451a4e;
constexpr uint64_t kNfs = 0x6969;
constexpr uint64_t kCifs = 0xff534d42;
constexpr uint64_t kSmb2 = 0xfe534d42;
constexpr uint64_t kFuse = 0x65735546;
constexpr uint64_t kCeph = 0x00c36400;

constexpr char kMountinfo[] =
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n"
    "23 22 8:17 / /data rw,noatime shared:2 master:1 - ext4 /dev/sdb1 rw,data=journal\n"
    "24 22 8:2 / /odd rw - ext4 /dev/sda2 rw,data=journalled\n"
    "25 22 0:22 / /proc rw shared:12 - proc proc rw\n";

TEST(KeyDirectory, RefusesFileSystemsThatDoNotOverwriteInPlace) {
  for (uint64_t magic : {kBtrfs, kZfs, kBcachefs, kNfs, kCifs, kSmb2, kFuse, kCeph, kTmpfs}) {
    const absl::Status status = CheckKeyFileSystem("/data/keys", magic, "rw");
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << std::hex << magic;
    EXPECT_THAT(status.message(), HasSubstr("where overwriting does not erase"));
  }
  for (uint64_t magic : {kExt4, kXfs, kOverlayfs}) {
    EXPECT_TRUE(CheckKeyFileSystem("/data/keys", magic, "rw").ok()) << std::hex << magic;
  }
}

TEST(KeyDirectory, RefusesExt4ThatJournalsData) {
  EXPECT_EQ(CheckKeyFileSystem("/data/keys", kExt4, "rw,data=journal").message(),
            "/data/keys is on ext4 with data=journal, where overwriting does not erase: choose a "
            "storage.data_dir on ext4 or xfs, or set storage.allow_unsafe_filesystem = true and do "
            "without that promise");
  EXPECT_TRUE(CheckKeyFileSystem("/data/keys", kExt4, "rw,data=ordered").ok());
  EXPECT_TRUE(CheckKeyFileSystem("/data/keys", kXfs, "rw,data=journal").ok());
}

TEST(KeyDirectory, RefusesExt4ThatShowsOldBytes) {
  EXPECT_EQ(CheckKeyFileSystem("/data/keys", kExt4, "rw,data=writeback").message(),
            "/data/keys is on ext4 with data=writeback, where files may hold other files' old bytes "
            "after a loss of power: choose a storage.data_dir on ext4 or xfs, or set "
            "storage.allow_unsafe_filesystem = true and do without that promise");
}

TEST(KeyDirectory, FindsTheOptionsOfItsOwnDevice) {
  EXPECT_EQ(SuperOptionsOf(kMountinfo, 8, 1), "rw,errors=remount-ro");
  EXPECT_EQ(SuperOptionsOf(kMountinfo, 8, 17), "rw,data=journal");
  EXPECT_EQ(SuperOptionsOf(kMountinfo, 8, 18), "");
  EXPECT_TRUE(CheckKeyFileSystem("/data/keys", kExt4, SuperOptionsOf(kMountinfo, 8, 2)).ok());
}

TEST(KeyDirectory, IsForItsOwnerOnly) {
  TemporaryDirectory directory;
  for (mode_t mode : {0710, 0701, 0720, 0750, 0755, 0777, 0770}) {
    ASSERT_EQ(chmod(directory.path().c_str(), mode), 0);
    EXPECT_EQ(CheckKeyDirectory(directory.path(), /*allow_unsafe=*/true).code(),
              absl::StatusCode::kFailedPrecondition);
  }
  ASSERT_EQ(chmod(directory.path().c_str(), 0755), 0);
  EXPECT_EQ(CheckKeyDirectory(directory.path(), false).message(),
            absl::StrCat(directory.path(), " has mode 0755, limit is 0700: run chmod 700 ",
                         directory.path()));
  ASSERT_EQ(chmod(directory.path().c_str(), 0700), 0);
  EXPECT_TRUE(CheckKeyDirectory(directory.path(), /*allow_unsafe=*/true).ok());
}

TEST(KeyDirectory, MustBeADirectory) {
  TemporaryDirectory directory;
  EXPECT_FALSE(CheckKeyDirectory(directory / "nothing", true).ok());
  std::ofstream(directory / "file") << "x";
  ASSERT_EQ(chmod((directory / "file").c_str(), 0600), 0);
  EXPECT_FALSE(CheckKeyDirectory(directory / "file", true).ok());
}

TEST(KeyDirectory, OfAnotherUserIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a directory away";
  TemporaryDirectory directory;
  ASSERT_EQ(chown(directory.path().c_str(), 12345, 12345), 0);
  EXPECT_THAT(
      CheckKeyDirectory(directory.path(), true).message(),
      HasSubstr("belongs to user 12345, expected user 0, who runs the server: run the server "
                "as its owner, or chown -R 0 "));
}

}  // namespace
}  // namespace mayfly
