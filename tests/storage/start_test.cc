// What a start refuses, in which words, and that nothing is lost by a start that was cut off.
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <sys/stat.h>

#include "storage/local/file_record.h"
#include "storage/local/needed_logs.h"
#include "storage/storage_harness.h"
#include "support/fault_file_system.h"
#include "support/fault_plan.h"
#include "support/fault_rocksdb.h"

namespace mayfly {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
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
                HasSubstr(" has mode 0750, limit is 0700, because others than the owner may enter "
                          "it: run chmod 700 " +
                          storage_.options.data_dir));
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
  EXPECT_EQ(refused.message(), "storage.data_dir " + storage_.options.data_dir +
                                   " is in use by another process, " + std::to_string(getpid()) +
                                   ", which has locked " + Path("lock") +
                                   ": end that first, or give this server another directory");
  EXPECT_TRUE(storage_.IsReadable(payload_));
  ASSERT_TRUE(storage_.Open().ok());
  EXPECT_EQ(storage_->boot_number(), boot + 1);
}

TEST_F(StartTest, RefusesADatabaseThatLostItsCurrentFile) {
  std::filesystem::remove(Path("db/CURRENT"));
  const absl::Status refused = storage_.Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), StartsWith("the database directory " + Path("db") +
                                                         " holds data but no CURRENT file"));
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

  const auto refuses_with = [&](const char* text) {
    const absl::Status refused = storage_.Open();
    EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(refused.message()), testing::MatchesRegex(text));
  };
  refuses_with(
      "data loss: db/CURRENT names MANIFEST-[0-9]+, but MANIFEST-[0-9]+ was once synced: restore "
      "the "
      "data directory, or set storage.accept_data_loss for one start to give up what is lost");
  // Without the record of the files the sequence tells.
  std::filesystem::remove(Path("keys/database"));
  for (int attempt = 0; attempt < 2; ++attempt) {
    refuses_with(
        "data loss: the database recovered sequence [0-9]+, but [0-9]+ was once synced: restore "
        "the "
        "data directory, or set storage.accept_data_loss for one start to give up what is lost");
  }
  storage_.options.accept_data_loss = true;
  ASSERT_TRUE(storage_.Open().ok());
  EXPECT_TRUE(storage_.IsReadable(payload_));
  // What was accepted once is not asked for again.
  storage_.options.accept_data_loss = false;
  EXPECT_TRUE(storage_.Open().ok());
}

// Damage to the files of the database, which RocksDB takes for a crash: each as a store of several logs
// meets it that was stopped after a SyncRecord.
class LostFilesTest : public StartTest {
 protected:
  void SetUp() override {
    StartTest::SetUp();
    storage_.options.log = [this](StorageLogLevel level, absl::string_view text) {
      MutexLock lock(&mutex_);
      if (level != StorageLogLevel::kInfo) log_.emplace_back(text);
    };
    FillTwoLogs();
  }

  // The second log begins when the memtable of the rows is full; the first stays for the deadlines.
  void FillTwoLogs() {
    DatabaseFiles recorded;
    do {
      ASSERT_TRUE(storage_.Open().ok());
      PutUntilTwoLogsAreRecorded();
      recorded = Recorded();
      storage_.Close();
      // Other background work may have come before the end.
    } while (Found().manifest != recorded.manifest);
    logs_ = recorded.logs;
    manifest_ = recorded.manifest;
    std::filesystem::copy(Path(""), directory_.path() + "/kept", kRecursive);
  }
  void PutUntilTwoLogsAreRecorded() {
    const uint32_t first = next_key_;
    DatabaseFiles recorded;
    do {
      auto payload = storage_.Put({.key = TestKey(next_key_), .ciphertext_bytes = 60'000});
      ASSERT_TRUE(payload.ok()) << payload.status();
      if (next_key_ == first) in_first_log_ = *payload;
      in_last_log_ = *payload;
      ++next_key_;
      ASSERT_TRUE(storage_->Sync().ok());
      ASSERT_TRUE(storage_->SyncRecord().ok());
      recorded = Recorded();
      ASSERT_LT(next_key_, 4000u);
      // Until the flush is over.
    } while (recorded.logs.size() < 2 || recorded.manifest != Found().manifest);
  }

  DatabaseFiles Recorded() {
    const auto recorded =
        FileRecord::Read(PosixFileSystem(), Path("keys"), storage_->slots().store_id());
    EXPECT_TRUE(recorded.ok()) << recorded.status();
    return recorded.ok() ? *recorded : DatabaseFiles();
  }
  DatabaseFiles Found() {
    const auto found = FindDatabaseFiles(Path("db"));
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? *found : DatabaseFiles();
  }
  std::string LogPath(size_t index) {
    return Path("db/" + std::string(6 - std::to_string(logs_[index].number).size(), '0') +
                std::to_string(logs_[index].number) + ".log");
  }
  std::string ManifestPath() {
    return Path("db/MANIFEST-" + std::string(6 - std::to_string(manifest_.number).size(), '0') +
                std::to_string(manifest_.number));
  }

  // Refused as often as it is tried, with nothing changed: what is put back is served.
  void ExpectRefused(const std::string& text) {
    for (int attempt = 0; attempt < 2; ++attempt) {
      const absl::Status refused = storage_.Open();
      EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
      EXPECT_THAT(std::string(refused.message()), StartsWith("data loss: " + text));
      EXPECT_THAT(std::string(refused.message()),
                  EndsWith(": restore the data directory, or set storage.accept_data_loss for one "
                           "start to give up what is lost"));
    }
    EXPECT_THAT(TakeLog(), Contains(StartsWith("data loss: " + text)));
  }
  void ExpectAllIsServed() {
    const absl::Status opened = storage_.Open();
    ASSERT_TRUE(opened.ok()) << opened;
    EXPECT_TRUE(storage_.IsReadable(payload_));
    EXPECT_TRUE(storage_.IsReadable(in_first_log_));
    EXPECT_TRUE(storage_.IsReadable(in_last_log_));
  }
  void PutBack(const std::string& path) {
    const std::string name = path.substr(Path("").size());
    std::filesystem::remove_all(path);
    std::filesystem::copy(directory_.path() + "/kept/" + name, path, kRecursive);
    if (name == "db") {
      ASSERT_EQ(chmod(path.c_str(), 0700), 0);
    }
  }
  // After an acceptance nothing is asked again.
  void ExpectAcceptedOnce() {
    storage_.options.accept_data_loss = true;
    const absl::Status opened = storage_.Open();
    ASSERT_TRUE(opened.ok()) << opened;
    storage_.options.accept_data_loss = false;
    EXPECT_TRUE(storage_.Open().ok());
  }
  std::vector<std::string> TakeLog() {
    MutexLock lock(&mutex_);
    return std::exchange(log_, {});
  }

  static constexpr auto kRecursive = std::filesystem::copy_options::recursive;
  TestDirectory directory_;
  uint32_t next_key_ = 1000;
  std::vector<DatabaseFiles::Entry> logs_;
  DatabaseFiles::Entry manifest_;
  TestPayload in_first_log_;
  TestPayload in_last_log_;
  Mutex mutex_;
  std::vector<std::string> log_ GUARDED_BY(mutex_);
};

TEST_F(LostFilesTest, StartsWithAllFiles) {
  EXPECT_GT(logs_[0].bytes, 0u);
  ExpectAllIsServed();
  EXPECT_THAT(TakeLog(), IsEmpty());
}

TEST_F(LostFilesTest, RefusesWithoutAnOlderLog) {
  std::filesystem::remove(LogPath(0));
  ExpectRefused("the log db/");
  EXPECT_THAT(std::string(storage_.Open().message()), HasSubstr(".log is missing, but "));
  PutBack(LogPath(0));
  ExpectAllIsServed();
}

// A kill in the second after a flush, which the record does not know of.
TEST_F(LostFilesTest, RefusesWithoutALogThatTheGrownManifestNeeds) {
  ASSERT_TRUE(storage_.Open().ok());
  ASSERT_NO_FATAL_FAILURE(PutUntilTwoLogsAreRecorded());
  logs_ = Recorded().logs;
  const std::string record = Path("keys/database");
  const std::string old_record = directory_.path() + "/old_record";
  std::filesystem::copy_file(record, old_record);
  const DatabaseFiles before = Found();
  // Fills the memtable of the segments, and not that of the deadlines.
  const auto leases = storage_->ReserveSlots(1);
  ASSERT_TRUE(leases.ok());
  const Sealed segment = Sealed::CopyOf(AsBytes(std::string(kSegmentBytes, 's')));
  for (uint32_t i = 0; i < 6; ++i) {
    ASSERT_TRUE(
        storage_->WriteSegment(TestKey(1), leases->front().ref, i, kTestDeadlineMs, segment).ok());
  }
  for (int wait = 0; Found().manifest == before.manifest; ++wait) {
    ASSERT_LT(wait, 6000) << "the segments are not flushed";
    absl::SleepFor(absl::Milliseconds(10));
  }
  storage_.Close();
  const std::optional<uint64_t> oldest = OldestNeededLog(Path("db"));
  ASSERT_TRUE(oldest.has_value());
  ASSERT_LE(*oldest, logs_[0].number);
  std::filesystem::rename(LogPath(0), directory_.path() + "/log");
  std::filesystem::copy_file(old_record, record, std::filesystem::copy_options::overwrite_existing);
  ExpectRefused("the log db/");
  EXPECT_THAT(std::string(storage_.Open().message()), HasSubstr(".log is missing, but "));
  std::filesystem::rename(directory_.path() + "/log", LogPath(0));
  ExpectAllIsServed();
}

TEST_F(LostFilesTest, RecordsALogSoonAfterItBegins) {
  ASSERT_TRUE(storage_.Open().ok());
  const size_t log_count = Recorded().logs.size();
  uint64_t newest = 0;
  for (int i = 0; newest == 0; ++i) {
    ASSERT_LT(i, 4000);
    ASSERT_TRUE(storage_.Put({.key = TestKey(next_key_++), .ciphertext_bytes = 60'000}).ok());
    const DatabaseFiles found = Found();
    if (found.logs.size() > log_count) newest = found.logs.back().number;
  }
  // Without SyncRecord.
  for (int wait = 0; Recorded().logs.back().number < newest; ++wait) {
    ASSERT_LT(wait, 6000) << "the log is not recorded";
    absl::SleepFor(absl::Milliseconds(10));
  }
}

// The owner of a file may have been another user.
TEST_F(LostFilesTest, NamesATableFileThatCannotBeReadAndWhatHelps) {
  std::filesystem::path table;
  for (const auto& entry : std::filesystem::directory_iterator(Path("db"))) {
    if (entry.path().extension() == ".sst") table = entry.path();
  }
  ASSERT_FALSE(table.empty());
  const std::string name = "db/" + table.filename().string();
  for (const bool is_cut : {true, false}) {
    is_cut ? std::filesystem::resize_file(table, 100) : (void)std::filesystem::remove(table);
    for (const bool accept : {false, true}) {
      storage_.options.accept_data_loss = accept;
      const absl::Status refused = storage_.Open();
      EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
      EXPECT_THAT(std::string(refused.message()),
                  StartsWith("data loss: the table file " + name + " is missing, damaged"));
      EXPECT_THAT(std::string(refused.message()), HasSubstr("put it back as it was"));
      EXPECT_THAT(std::string(refused.message()), HasSubstr("accept_data_loss does not help"));
    }
  }
  storage_.options.accept_data_loss = false;
  PutBack(table.string());
  ExpectAllIsServed();
}

TEST_F(LostFilesTest, RefusesAnEmptiedLog) {
  std::filesystem::resize_file(LogPath(0), 0);
  ExpectRefused("the log db/");
  EXPECT_THAT(std::string(storage_.Open().message()), HasSubstr(".log has 0 bytes, but "));
  PutBack(LogPath(0));
  ExpectAllIsServed();
}

TEST_F(LostFilesTest, RefusesALogThatIsCutByAByte) {
  for (size_t i = 0; i < logs_.size(); ++i) {
    if (logs_[i].bytes == 0) continue;
    std::filesystem::resize_file(LogPath(i), logs_[i].bytes - 1);
    ExpectRefused("the log db/");
    PutBack(LogPath(i));
  }
  ExpectAllIsServed();
}

// RocksDB takes zeros for room that was never written to, and goes on behind them.
TEST_F(LostFilesTest, RefusesALogWithZerosForContent) {
  const uint64_t size = logs_[0].bytes;
  std::filesystem::resize_file(LogPath(0), 0);
  std::filesystem::resize_file(LogPath(0), size);
  ExpectRefused("the log db/");
  EXPECT_THAT(std::string(storage_.Open().message()),
              HasSubstr(".log has zeros at byte 0, but " + std::to_string(size) + " bytes of it"));
  PutBack(LogPath(0));
  std::filesystem::resize_file(LogPath(0), 5 * (32 << 10));
  std::filesystem::resize_file(LogPath(0), size);
  ExpectRefused("the log db/");
  EXPECT_THAT(std::string(storage_.Open().message()), HasSubstr(".log has zeros at byte 163840"));
  PutBack(LogPath(0));
  ExpectAllIsServed();
}

TEST_F(LostFilesTest, RefusesAManifestThatIsCutByAByteOrOlder) {
  std::filesystem::resize_file(ManifestPath(), manifest_.bytes - 1);
  ExpectRefused("the manifest db/MANIFEST-");
  PutBack(ManifestPath());
  std::filesystem::remove(ManifestPath());
  ExpectRefused("the manifest db/MANIFEST-");
  PutBack(ManifestPath());
  std::ofstream(Path("db/CURRENT")) << "MANIFEST-000001\n";
  ExpectRefused("db/CURRENT names MANIFEST-000001, but MANIFEST-");
  PutBack(Path("db/CURRENT"));
  ExpectAllIsServed();
}

TEST_F(LostFilesTest, RefusesAnEmptyDatabase) {
  std::filesystem::remove_all(Path("db"));
  ExpectRefused("db/CURRENT names no manifest, but MANIFEST-");
  PutBack(Path("db"));
  ExpectAllIsServed();
}

TEST_F(LostFilesTest, RefusesAnotherDatabaseBeforeItIsWrittenTo) {
  StorageHarness other(2);
  ASSERT_TRUE(other.Open().ok());
  other.Close();
  std::filesystem::remove_all(Path("db"));
  std::filesystem::copy(other.options.data_dir + "/db", Path("db"), kRecursive);
  ASSERT_EQ(chmod(Path("db").c_str(), 0700), 0);
  const DatabaseFiles before = Found();
  ExpectRefused("the database db is not the one that was last synced");
  EXPECT_EQ(Found(), before);
  storage_.options.accept_data_loss = true;
  EXPECT_EQ(storage_.Open().code(), absl::StatusCode::kFailedPrecondition);
  storage_.options.accept_data_loss = false;
  PutBack(Path("db"));
  ExpectAllIsServed();
}

TEST_F(LostFilesTest, AcceptsAMissingLogForOneStart) {
  std::filesystem::remove(LogPath(0));
  ExpectRefused("the log db/");
  ExpectAcceptedOnce();
  EXPECT_TRUE(storage_.IsReadable(in_last_log_));
}

TEST_F(LostFilesTest, AcceptsAnEmptyDatabaseForOneStart) {
  std::filesystem::remove_all(Path("db"));
  ExpectRefused("db/CURRENT names no manifest");
  ExpectAcceptedOnce();
}

TEST_F(LostFilesTest, RefusesTheRecordOfAnotherStore) {
  StorageHarness other(2);
  ASSERT_TRUE(other.Open().ok());
  other.Close();
  std::filesystem::remove(Path("keys/database"));
  std::filesystem::copy(other.options.data_dir + "/keys/database", Path("keys/database"));
  const absl::Status refused = storage_.Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()),
              StartsWith("the record keys/database is another store's"));
  PutBack(Path("keys/database"));
  ExpectAllIsServed();
}

TEST_F(LostFilesTest, StartsWithAWarningWhenTheRecordIsMissingOrDamaged) {
  std::filesystem::remove(Path("keys/database"));
  ExpectAllIsServed();
  EXPECT_THAT(TakeLog(), ElementsAre("the record keys/database is missing: the files of the "
                                     "database are not compared with it"));
  // It is there again.
  ExpectAllIsServed();
  EXPECT_THAT(TakeLog(), IsEmpty());
  storage_.Close();
  std::filesystem::resize_file(Path("keys/database"), 0);
  ExpectAllIsServed();
  EXPECT_THAT(TakeLog(), ElementsAre("the record keys/database is damaged: the files of the "
                                     "database are not compared with it"));
}

TEST_F(LostFilesTest, StartsWhenFilesWentAfterTheRecord) {
  // The record of before the flush and the restart, with the files of after it.
  ASSERT_TRUE(storage_.Open().ok());
  ASSERT_TRUE(storage_->Maintain(kTestNowMs + LocalStorage::kFlushIntervalMs).ok());
  storage_.Close();
  PutBack(Path("keys/database"));
  ExpectAllIsServed();
  EXPECT_THAT(TakeLog(), IsEmpty());
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
