// What a start refuses, in which words, and that nothing is lost by a start that was cut off.
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <sys/stat.h>

#include "storage/storage_harness.h"
#include "support/fault_file_system.h"
#include "support/fault_plan.h"
#include "support/fault_rocksdb.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class StartTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(storage_.Open().ok());
    auto payload = storage_.Put({.key = TestKey(1)});
    ASSERT_TRUE(payload.ok());
    payload_ = *payload;
    ASSERT_TRUE(storage_->Sync().ok());
    ASSERT_TRUE(storage_->Sync().ok());
    storage_.Close();
  }
  std::string Path(const std::string& name) { return storage_.options.data_dir + "/" + name; }

  StorageHarness storage_;
  TestPayload payload_;
};

TEST_F(StartTest, RefusesDataWithoutItsKeyring) {
  std::filesystem::rename(Path("keys/keyring"), Path("keyring"));
  const absl::Status refused = storage_.Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(refused.message(),
            "the keyring is missing while the database holds data: restore it, or move the whole "
            "data directory away to start empty");
  std::filesystem::rename(Path("keyring"), Path("keys/keyring"));
  ASSERT_TRUE(storage_.Open().ok());
  EXPECT_TRUE(storage_.IsReadable(payload_));
}

TEST_F(StartTest, RefusesDataWithoutItsSlots) {
  std::filesystem::remove(Path("keys/slots"));
  const absl::Status refused = storage_.Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(refused.message(),
            "the slot file is missing while the database holds data: restore it, or move the "
            "whole data directory away to start empty");
}

TEST_F(StartTest, RefusesAnotherRootKeyAndAcceptsTheRightOneAfterwards) {
  storage_.root_key = std::string(32, 'x');
  const absl::Status refused = storage_.Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("root key"));
  storage_.root_key = std::string(32, 'r');
  ASSERT_TRUE(storage_.Open().ok());
  EXPECT_TRUE(storage_.IsReadable(payload_));
}

TEST_F(StartTest, RefusesDirectoriesThatOthersMayEnter) {
  for (const std::string name : {"", "db"}) {
    ASSERT_EQ(chmod(Path(name).c_str(), 0750), 0);
    const absl::Status refused = storage_.Open();
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(refused.message()),
                HasSubstr("has mode 0750, wants 0700: others than the owner may enter it"));
    ASSERT_EQ(chmod(Path(name).c_str(), 0700), 0);
  }
  ASSERT_EQ(chmod(Path("keys").c_str(), 0710), 0);
  EXPECT_EQ(storage_.Open().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_EQ(chmod(Path("keys").c_str(), 0700), 0);
  EXPECT_TRUE(storage_.Open().ok());
}

TEST_F(StartTest, RefusesASecondUserOfTheDirectoryBeforeAnythingIsWritten) {
  ASSERT_TRUE(storage_.Open().ok());
  const uint64_t boot = storage_->boot_number();
  LocalStorageOptions second = StorageHarness::OptionsIn(storage_.directory);
  second.root_key = SecretBytes(AsBytes(storage_.root_key));
  const absl::Status refused = LocalStorage::Open(std::move(second)).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(refused.message(),
            "the data directory is in use by another process, or its lock file cannot be written");
  EXPECT_TRUE(storage_.IsReadable(payload_));
  ASSERT_TRUE(storage_.Open().ok());
  EXPECT_EQ(storage_->boot_number(), boot + 1);
}

TEST_F(StartTest, RefusesADatabaseThatLostItsCurrentFile) {
  std::filesystem::remove(Path("db/CURRENT"));
  const absl::Status refused = storage_.Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()),
              StartsWith("the database directory holds data but no CURRENT file"));
}

TEST_F(StartTest, ReportsDataLossAndStartsOnlyWhenItIsAccepted) {
  // The database of a moment before: everything that was synced since is lost.
  std::filesystem::copy(Path("db"), Path("old"), std::filesystem::copy_options::recursive);
  ASSERT_TRUE(storage_.Open().ok());
  for (uint32_t i = 100; i < 110; ++i) ASSERT_TRUE(storage_.Put({.key = TestKey(i)}).ok());
  ASSERT_TRUE(storage_->Sync().ok());
  ASSERT_TRUE(storage_->Sync().ok());
  storage_.Close();
  std::filesystem::remove_all(Path("db"));
  std::filesystem::rename(Path("old"), Path("db"));
  ASSERT_EQ(chmod(Path("db").c_str(), 0700), 0);

  for (int attempt = 0; attempt < 2; ++attempt) {
    const absl::Status refused = storage_.Open();
    EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(refused.message()),
                testing::MatchesRegex("data loss: the database recovered sequence [0-9]+, but "
                                      "[0-9]+ was once synced: restore the data directory, or set "
                                      "storage.accept_data_loss for one start to give up what is "
                                      "lost"));
  }
  storage_.options.accept_data_loss = true;
  ASSERT_TRUE(storage_.Open().ok());
  EXPECT_TRUE(storage_.IsReadable(payload_));
  // What was accepted once is not asked for again.
  storage_.options.accept_data_loss = false;
  EXPECT_TRUE(storage_.Open().ok());
}

TEST_F(StartTest, ErasesAgainWhatRecoveredTombstonesName) {
  ASSERT_TRUE(storage_.Open().ok());
  // Killed between the sync of the tombstone and the overwriting of the slot.
  ASSERT_TRUE(storage_.End(TestKey(1), EndReason::kConsumed).ok());
  ASSERT_TRUE(storage_->Sync().ok());
  EXPECT_EQ(storage_->StateOf(payload_.stored.slot), SlotState::kLive);
  for (int start = 0; start < 2; ++start) {
    ASSERT_TRUE(storage_.Open().ok());
    EXPECT_EQ(storage_->StateOf(payload_.stored.slot), SlotState::kErased);
    EXPECT_TRUE(storage_.Load(TestKey(1)).state.tombstone.has_value());
  }
}

TEST(Start, RecoversFromAFailureOfEveryStepOfTheFirstStart) {
  bool failed = true;
  for (uint64_t k = 1; failed; ++k) {
    for (const bool power_is_cut : {false, true}) {
      FaultPlan plan;
      std::mt19937_64 random(k);
      TestDirectory scratch[2];
      FaultFileSystem files(&plan, scratch[0].path());
      StorageHarness storage;
      storage.options.file_system = &files;
      const auto rocksdb_files = std::make_shared<FaultRocksFileSystem>(&plan, scratch[1].path());
      storage.options.rocksdb_file_system = rocksdb_files;
      plan.FailAt(k, /*and_all_after=*/true);
      const absl::Status first = storage.Open();
      failed = plan.has_failed();
      ASSERT_EQ(first.ok(), !failed) << "k " << k << ": " << first;
      storage.Close();
      if (power_is_cut) {
        plan.FailFromNowOn();
        files.DropUnsynced(&random);
        rocksdb_files->DropUnsynced(&random);
      }
      plan.NeverFail();
      const absl::Status second = storage.Open();
      ASSERT_TRUE(second.ok()) << "k " << k << " power " << power_is_cut << ": " << second;
      ASSERT_TRUE(storage.Put({.key = TestKey(1)}).ok());
      ASSERT_TRUE(storage->Sync().ok());
    }
    ASSERT_LT(k, 1000u);
  }
}

}  // namespace
}  // namespace mayfly
