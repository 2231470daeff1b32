// When data leaves the disk, checked in RocksDB's files.
#include <filesystem>

#include "gtest/gtest.h"
#include "rocksdb/sst_file_reader.h"
#include "rocksdb/system_clock.h"

#include "storage/storage_harness.h"
#include "support/raw_file.h"

namespace mayfly {
namespace {

class HandSystemClock : public rocksdb::SystemClockWrapper {
 public:
  HandSystemClock() : SystemClockWrapper(rocksdb::SystemClock::Default()) {}
  const char* Name() const override { return "HandSystemClock"; }
  rocksdb::Status GetCurrentTime(int64_t* unix_time) override {
    *unix_time = now_s;
    return rocksdb::Status::OK();
  }
  int64_t now_s = kTestNowMs / 1000;
};

class PhysicalTest : public testing::Test {
 protected:
  PhysicalTest() : clock_(std::make_shared<HandSystemClock>()) {
    storage_.options.rocksdb_clock = clock_;
  }
  void SetUp() override { ASSERT_TRUE(storage_.Open().ok()); }

  std::string DatabasePath() { return storage_.options.data_dir + "/db"; }

  // Entries in the files of one family, markers of removals included.
  uint64_t FileEntries(const std::string& family) {
    uint64_t entries = 0;
    for (const auto& file : std::filesystem::directory_iterator(DatabasePath())) {
      if (file.path().extension() != ".sst") continue;
      rocksdb::SstFileReader reader{rocksdb::Options()};
      EXPECT_TRUE(reader.Open(file.path()).ok());
      if (reader.GetTableProperties()->column_family_name == family) {
        entries += reader.GetTableProperties()->num_entries;
      }
    }
    return entries;
  }
  bool DiskHolds(const std::string& text) {
    for (const auto& file : std::filesystem::directory_iterator(DatabasePath())) {
      if (ReadRaw(file.path()).find(text) != std::string::npos) return true;
    }
    return false;
  }
  // One hour later, as Maintain and RocksDB see it.
  void PassHour() {
    hours_ += 1;
    clock_->now_s += 3600;
    ASSERT_TRUE(storage_->Maintain(kTestNowMs + hours_ * 3'600'000).ok());
  }

  std::shared_ptr<HandSystemClock> clock_;
  StorageHarness storage_;
  int64_t hours_ = 0;
};

TEST_F(PhysicalTest, WritesNoFileForCallsThatComeAndGoWithinAMemtable) {
  storage_.Close();
  storage_.options.memtable_bytes = uint64_t{64} << 20;
  ASSERT_TRUE(storage_.Open().ok());
  std::string secret_of_last;
  for (uint32_t i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(storage_.Put({.key = TestKey(i)}).ok());
    auto output =
        storage_.Put({.key = TestKey(i), .kind = PayloadKind::kOutput, .attempt = 1 + i % 2});
    ASSERT_TRUE(output.ok());
    // Some are replaced by a higher attempt before they are acked.
    if (i % 7 == 0) {
      ASSERT_TRUE(
          storage_.Put({.key = TestKey(i), .kind = PayloadKind::kOutput, .attempt = 5}).ok());
    }
    ASSERT_TRUE(storage_.End(TestKey(i), EndReason::kConsumed).ok());
  }
  PassHour();
  EXPECT_EQ(FileEntries("calls"), 0u);
  EXPECT_EQ(FileEntries("deadlines"), 0u);
  // One of each call, and one for the slot of each output that was replaced.
  EXPECT_EQ(FileEntries("tombstones"), 10'000u + (10'000u + 6) / 7);
  // And the count is one that can be something else.
  ASSERT_TRUE(storage_.Put({.key = TestKey(20'000)}).ok());
  PassHour();
  EXPECT_EQ(FileEntries("calls"), 1u);
  EXPECT_EQ(FileEntries("deadlines"), 1u);
}

TEST_F(PhysicalTest, FlushesHourlySoThatTheLogForgets) {
  auto payload = storage_.Put({.key = TestKey(1), .ciphertext_bytes = 1000});
  ASSERT_TRUE(payload.ok());
  ASSERT_TRUE(DiskHolds(payload->ciphertext));
  ASSERT_TRUE(storage_.Ack(TestKey(1)).ok());
  ASSERT_TRUE(storage_->Maintain(kTestNowMs + 3'599'000).ok());
  EXPECT_TRUE(DiskHolds(payload->ciphertext));
  PassHour();
  EXPECT_FALSE(DiskHolds(payload->ciphertext));
}

TEST_F(PhysicalTest, CompactsAwayWhatEndedTwoDaysAgo) {
  auto row = storage_.Put({.key = TestKey(1), .ciphertext_bytes = 1000});
  auto large = storage_.Put({.key = TestKey(2), .segment_count = 2});
  auto young = storage_.Put({.key = TestKey(3, 1, kTestNowMs + 48 * 3'600'000)});
  ASSERT_TRUE(row.ok() && large.ok() && young.ok());
  // The rows are in files before they are removed.
  PassHour();
  ASSERT_TRUE(storage_.Ack(TestKey(1)).ok());
  ASSERT_TRUE(storage_.Ack(TestKey(2)).ok());
  PassHour();
  EXPECT_TRUE(DiskHolds(row->ciphertext));
  EXPECT_GT(FileEntries("segments"), 0u);
  while (hours_ < 50) PassHour();
  EXPECT_FALSE(DiskHolds(row->ciphertext));
  EXPECT_EQ(FileEntries("segments"), 0u);
  EXPECT_TRUE(storage_.IsReadable(*young));
}

TEST_F(PhysicalTest, DropsTombstonesAfterTheirTtlAndNotBefore) {
  storage_.Close();
  storage_.options.tombstone_ttl_ms_max = 2 * 3'600'000;
  ASSERT_TRUE(storage_.Open().ok());
  ASSERT_TRUE(storage_.Put({.key = TestKey(1)}).ok());
  ASSERT_TRUE(storage_.Ack(TestKey(1)).ok());
  PassHour();
  ASSERT_EQ(FileEntries("tombstones"), 1u);
  PassHour();
  EXPECT_EQ(FileEntries("tombstones"), 1u);
  EXPECT_TRUE(storage_.Load(TestKey(1)).state.tombstone.has_value());
  // The limit is the TTL and the hour in which the file was filled; no flush has anything to do.
  while (hours_ < 5) PassHour();
  EXPECT_EQ(FileEntries("tombstones"), 0u);
  EXPECT_FALSE(storage_.Load(TestKey(1)).state.tombstone.has_value());
}

TEST_F(PhysicalTest, KeepsTenantNamesAndKeysOutOfEverythingButTheirRows) {
  ASSERT_TRUE(storage_->ResolveTenant("a-tenant-name", 1000).ok());
  ASSERT_TRUE(storage_.Put({.key = TestKey(1)}).ok());
  PassHour();
  for (const auto& file : std::filesystem::directory_iterator(DatabasePath())) {
    const std::string name = file.path().filename();
    if (name.starts_with("MANIFEST") || name.starts_with("LOG")) {
      EXPECT_EQ(ReadRaw(file.path()).find("a-tenant-name"), std::string::npos) << name;
    }
  }
}

}  // namespace
}  // namespace mayfly
