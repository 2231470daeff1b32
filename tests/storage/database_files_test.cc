// What counts as lost, and what a crash may have left: in doubt nothing is lost.
#include "storage/local/database_files.h"

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "storage/storage_harness.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const DatabaseFiles kSynced = {
    .identity = "id", .manifest = {9, 500}, .logs = {{10, 1000}, {12, 2000}, {14, 0}}};

std::string LossOf(const DatabaseFiles& found) {
  absl::Status status = CheckManifest(kSynced, found);
  if (status.ok()) status = CheckLogsAreThere(kSynced.logs, found.logs);
  EXPECT_TRUE(status.ok() || absl::IsDataLoss(status)) << status;
  return std::string(status.message());
}

TEST(LostDatabaseFiles, AcceptsWhatWasSyncedAndWhatCameAfterIt) {
  EXPECT_EQ(LossOf(kSynced), "");
  DatabaseFiles found = kSynced;
  found.logs[2].bytes = 100;
  found.logs.push_back({16, 100});
  found.logs.insert(found.logs.begin(), {8, 100});
  EXPECT_EQ(LossOf(found), "");
}

TEST(LostDatabaseFiles, NamesALogThatIsMissingEmptyOrCut) {
  for (size_t i = 0; i < kSynced.logs.size(); ++i) {
    DatabaseFiles found = kSynced;
    found.logs.erase(found.logs.begin() + static_cast<ptrdiff_t>(i));
    EXPECT_EQ(LossOf(found), "data loss: the log db/0000" + std::to_string(kSynced.logs[i].number) +
                                 ".log is missing, but " + std::to_string(kSynced.logs[i].bytes) +
                                 " bytes of it were once synced");
  }
  DatabaseFiles found = kSynced;
  found.logs[0].bytes = 0;
  EXPECT_EQ(LossOf(found),
            "data loss: the log db/000010.log has 0 bytes, but 1000 were once synced");
  found.logs[0].bytes = 999;
  EXPECT_EQ(LossOf(found),
            "data loss: the log db/000010.log has 999 bytes, but 1000 were once synced");
}

TEST(LostDatabaseFiles, AcceptsAManifestThatHasGrownOrWasBegunAnew) {
  DatabaseFiles found = kSynced;
  found.manifest.bytes = 501;
  EXPECT_EQ(LossOf(found), "");
  found.manifest = {11, 20};
  EXPECT_EQ(LossOf(found), "");
}

TEST(LostDatabaseFiles, NamesAManifestThatIsCutMissingOrOlder) {
  DatabaseFiles found = kSynced;
  found.manifest.bytes = 499;
  EXPECT_EQ(LossOf(found),
            "data loss: the manifest db/MANIFEST-000009 has 499 bytes, but 500 were once synced");
  found.manifest.bytes = 0;
  EXPECT_THAT(LossOf(found), HasSubstr("db/MANIFEST-000009 has 0 bytes"));
  found.manifest = {8, 5000};
  EXPECT_EQ(LossOf(found),
            "data loss: db/CURRENT names MANIFEST-000008, but MANIFEST-000009 was once synced");
  found.manifest = {};
  EXPECT_EQ(LossOf(found),
            "data loss: db/CURRENT names no manifest, but MANIFEST-000009 was once synced");
}

TEST(LostDatabaseFiles, NoticesAnotherIdentityAndNotAMissingOne) {
  DatabaseFiles found = kSynced;
  found.identity = "another";
  EXPECT_THAT(LossOf(found), HasSubstr("db/IDENTITY is another"));
  found.identity = "";
  EXPECT_EQ(LossOf(found), "");
}

class FindDatabaseFilesTest : public testing::Test {
 protected:
  void WriteFile(const std::string& name, const std::string& content) {
    std::ofstream(directory_.path() + "/" + name, std::ios::binary) << content;
  }
  DatabaseFiles Find() {
    auto found = FindDatabaseFiles(directory_.path());
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? *found : DatabaseFiles();
  }

  TestDirectory directory_;
};

TEST_F(FindDatabaseFilesTest, FindsTheManifestThatCountsAndTheLogsByNumber) {
  WriteFile("CURRENT", "MANIFEST-000009\n");
  WriteFile("MANIFEST-000009", "12345");
  WriteFile("MANIFEST-000007", "1234567");
  WriteFile("IDENTITY", "id\n");
  WriteFile("000012.log", "12");
  WriteFile("000010.log", "1");
  WriteFile("1000010.log", "");
  for (const char* name : {"000011.sst", "LOG.log", "-1.log", "+12.log", ".log"}) {
    WriteFile(name, "1");
  }
  const DatabaseFiles found = Find();
  EXPECT_EQ(found.identity, "id");
  EXPECT_EQ(found.manifest, (DatabaseFiles::Entry{9, 5}));
  EXPECT_THAT(found.logs, ElementsAre(DatabaseFiles::Entry{10, 1}, DatabaseFiles::Entry{12, 2},
                                      DatabaseFiles::Entry{1000010, 0}));
}

TEST_F(FindDatabaseFilesTest, FindsNothingWhereNothingIs) {
  EXPECT_EQ(Find(), DatabaseFiles());
  WriteFile("CURRENT", "MANIFEST-000009\n");
  EXPECT_EQ(Find().manifest, (DatabaseFiles::Entry{9, 0}));
  for (const char* current : {"", "MANIFEST-", "MANIFEST-00x", "OPTIONS-000009"}) {
    WriteFile("CURRENT", current);
    EXPECT_EQ(Find().manifest, DatabaseFiles::Entry()) << current;
  }
  const auto found = FindDatabaseFiles(directory_.path() + "/absent");
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_THAT(found->logs, IsEmpty());
}

class CheckLogsAreWrittenTest : public FindDatabaseFilesTest {
 protected:
  static constexpr size_t kBlockBytes = 32 << 10;

  // A record as RocksDB's logs have them, whose checksum does not matter here.
  static std::string Record(size_t length) {
    std::string record = "crc!";
    record += static_cast<char>(length & 0xff);
    record += static_cast<char>(length >> 8);
    record += '\1';
    return record + std::string(length, '\0');
  }
  std::string LossOfLog(const std::string& content, uint64_t synced_bytes) {
    WriteFile("000010.log", content);
    return std::string(CheckLogsAreWritten(directory_.path(), {{10, synced_bytes}}).message());
  }
};

TEST_F(CheckLogsAreWrittenTest, AcceptsRecordsAndTheEndsOfBlocks) {
  for (size_t rest = 0; rest < 7; ++rest) {
    const std::string content =
        Record(kBlockBytes - 7 - rest) + std::string(rest, '\0') + Record(0) + Record(5000);
    EXPECT_EQ(LossOfLog(content, content.size()), "") << rest;
    // A record that was cut, or was being written when its log was noted.
    EXPECT_EQ(LossOfLog(content.substr(0, content.size() - 1), content.size() - 1), "");
    EXPECT_EQ(LossOfLog(content.substr(0, kBlockBytes + 10), kBlockBytes + 10), "");
  }
  EXPECT_EQ(LossOfLog("", 0), "");
}

TEST_F(CheckLogsAreWrittenTest, FindsZerosAmongWhatWasSynced) {
  const std::string content = Record(100) + std::string(100'000, '\0');
  EXPECT_EQ(LossOfLog(content, content.size()),
            "data loss: the log db/000010.log has zeros at byte 107, but 100107 bytes of it were "
            "once synced");
  EXPECT_EQ(LossOfLog(content, 107), "");
  EXPECT_NE(LossOfLog(Record(kBlockBytes - 7) + std::string(7, '\0'), kBlockBytes + 7), "");
}

TEST_F(CheckLogsAreWrittenTest, SaysNothingOfALogThatCannotBeRead) {
  EXPECT_TRUE(CheckLogsAreWritten(directory_.path() + "/absent", {{10, 100}}).ok());
}

}  // namespace
}  // namespace mayfly
