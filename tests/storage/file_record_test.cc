// The record of the database's files: its copies, its damage, and a loss of power while it is written.
#include "storage/local/file_record.h"

#include <filesystem>
#include <fstream>
#include <random>

#include "gtest/gtest.h"

#include "storage/storage_harness.h"
#include "support/fault_file_system.h"
#include "support/fault_plan.h"

namespace mayfly {
namespace {

constexpr StoreId kStore = {1, 2, 3};
constexpr StoreId kOtherStore = {3, 2, 1};

DatabaseFiles FilesOf(uint64_t bytes) {
  return {.identity = "dd3a-22", .manifest = {5, bytes}, .logs = {{6, bytes}, {8, bytes + 1}}};
}

class FileRecordTest : public testing::Test {
 protected:
  std::unique_ptr<FileRecord> Create(uint64_t bytes) {
    auto record = FileRecord::Create(PosixFileSystem(), directory_.path(), kStore, FilesOf(bytes));
    EXPECT_TRUE(record.ok()) << record.status();
    return *std::move(record);
  }
  absl::StatusOr<DatabaseFiles> Read() {
    return FileRecord::Read(PosixFileSystem(), directory_.path(), kStore);
  }
  std::string path() const { return directory_.path() + "/database"; }
  void FlipBit(std::streamoff offset) {
    std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(offset);
    const int byte = file.get();
    file.seekp(offset);
    file.put(static_cast<char>(byte ^ 1));
  }

  TestDirectory directory_;
};

TEST_F(FileRecordTest, SaysWhatWasWrittenLast) {
  EXPECT_TRUE(absl::IsNotFound(Read().status()));
  const auto record = Create(100);
  EXPECT_EQ(*Read(), FilesOf(100));
  for (uint64_t bytes = 200; bytes < 205; ++bytes) {
    ASSERT_TRUE(record->Write(FilesOf(bytes)).ok());
    EXPECT_EQ(*Read(), FilesOf(bytes));
  }
  const DatabaseFiles empty;
  ASSERT_TRUE(record->Write(empty).ok());
  EXPECT_EQ(*Read(), empty);
}

TEST_F(FileRecordTest, FallsBackToTheCopyBeforeADamagedOne) {
  const auto record = Create(100);
  ASSERT_TRUE(record->Write(FilesOf(200)).ok());
  ASSERT_TRUE(record->Write(FilesOf(300)).ok());
  FlipBit((32 << 10) + 40);
  EXPECT_EQ(*Read(), FilesOf(200));
  FlipBit(60);
  EXPECT_TRUE(absl::IsDataLoss(Read().status()));
}

TEST_F(FileRecordTest, IsDamagedWhenItsSizeIsAnother) {
  Create(100);
  for (const uintmax_t size : {0, 100, 32 << 10, (64 << 10) - 1, (64 << 10) + 1}) {
    std::filesystem::resize_file(path(), size);
    EXPECT_TRUE(absl::IsDataLoss(Read().status())) << size;
  }
}

TEST_F(FileRecordTest, IsRefusedWhenItIsAnotherStores) {
  Create(100);
  const auto read = FileRecord::Read(PosixFileSystem(), directory_.path(), kOtherStore);
  EXPECT_EQ(read.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(read.status().message(),
            "the record keys/database is another store's: put the right one back, or remove it to "
            "start without a check of the database's files");
}

TEST_F(FileRecordTest, HasRoomForAsManyLogsAsItSays) {
  DatabaseFiles files = FilesOf(1);
  files.identity = std::string(300, 'i');
  for (uint64_t number = 9; files.logs.size() <= FileRecord::kLogsMax; ++number) {
    files.logs.push_back({number, number});
  }
  ASSERT_TRUE(Create(100)->Write(files).ok());
  files.logs.pop_back();
  files.identity.resize(256);
  EXPECT_EQ(*Read(), files);
}

TEST_F(FileRecordTest, ALossOfPowerLeavesWhatWasWrittenOrWhatWasBeforeIt) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    TestDirectory scratch;
    FaultPlan plan;
    FaultFileSystem files(&plan, scratch.path());
    plan.FailAt(1 + random() % 40, /*and_all_after=*/true);
    uint64_t tried = 0;
    uint64_t written = 0;
    {
      auto record = FileRecord::Create(&files, directory_.path(), kStore, FilesOf(0));
      for (tried = 1; record.ok() && (*record)->Write(FilesOf(tried)).ok(); ++tried) {
        written = tried;
      }
      if (!record.ok()) tried = 0;
    }
    plan.FailFromNowOn();
    files.DropUnsynced(&random);
    plan.NeverFail();
    const auto read = FileRecord::Read(&files, directory_.path(), kStore);
    if (tried > 0) {
      ASSERT_TRUE(read.ok()) << read.status() << " seed " << seed;
      EXPECT_TRUE(*read == FilesOf(written) || *read == FilesOf(tried)) << "seed " << seed;
    } else {
      // The one of the seed before is there, or none.
      EXPECT_FALSE(absl::IsDataLoss(read.status())) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace mayfly
