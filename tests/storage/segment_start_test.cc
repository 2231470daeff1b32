// Large payloads on one machine: their room comes back, and what a start finds in segment files.
#include <filesystem>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/hooked_files.h"
#include "storage/local/segment_files.h"
#include "storage/storage_harness.h"
#include "support/damage.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class SegmentStorageTest : public testing::Test {
 protected:
  // Of the harness's segments.
  static constexpr uint64_t kRoomBytes = 2 * kSegmentAlignment;

  void SetUp() override {
    storage_.options.log = [this](StorageLogLevel, absl::string_view text) {
      MutexLock lock(&mutex_);
      log_ += std::string(text) + "\n";
    };
    Open();
  }
  void Open() {
    const absl::Status opened = storage_.Open();
    ASSERT_TRUE(opened.ok()) << opened;
  }
  TestPayload Put(uint32_t key, uint32_t segment_count = 2) {
    auto payload = storage_.Put({.key = TestKey(key), .segment_count = segment_count});
    EXPECT_TRUE(payload.ok()) << payload.status();
    return *std::move(payload);
  }
  std::string Path(const std::string& name) { return storage_.options.data_dir + "/" + name; }
  std::vector<std::string> Files() {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(Path("segments"))) {
      files.push_back(entry.path());
    }
    return files;
  }
  std::string OnlyFile() {
    const std::vector<std::string> files = Files();
    EXPECT_THAT(files, SizeIs(1));
    return files.empty() ? "" : files[0];
  }
  uint64_t Allocated() {
    uint64_t bytes = 0;
    for (const std::string& path : Files()) {
      const auto file = PosixFileSystem()->Open(path, /*create=*/false);
      if (file.ok()) bytes += (*file)->AllocatedBytes().value_or(0);
    }
    return bytes;
  }
  // Room comes back on a thread of its own.
  bool ComesDownTo(uint64_t bytes) {
    for (int wait = 0; Allocated() > bytes && wait < 6000; ++wait) {
      absl::SleepFor(absl::Milliseconds(10));
    }
    return Allocated() == bytes;
  }
  std::string Log() {
    MutexLock lock(&mutex_);
    return std::exchange(log_, "");
  }
  absl::StatusCode ReadCode(const TestPayload& payload, uint32_t number) {
    return storage_->ReadSegment(payload.key, payload.stored.slot, number).status().code();
  }
  Orphans FindOrphans() {
    auto orphans = storage_->FindOrphans();
    EXPECT_TRUE(orphans.ok()) << orphans.status();
    return *std::move(orphans);
  }

  Mutex mutex_;
  std::string log_ GUARDED_BY(mutex_);
  StorageHarness storage_;
};

// ---- Room

TEST_F(SegmentStorageTest, AnAckedPayloadGivesItsRoomBackAtOnce) {
  const TestPayload first = Put(1, 3);
  const TestPayload second = Put(2, 5);
  ASSERT_EQ(Allocated(), 8 * kRoomBytes);
  ASSERT_TRUE(storage_.Ack(first.key).ok());
  EXPECT_TRUE(ComesDownTo(5 * kRoomBytes));
  EXPECT_TRUE(storage_.IsReadable(second));
  ASSERT_TRUE(storage_.Ack(second.key).ok());
  EXPECT_TRUE(ComesDownTo(0));
}

// A loss of power could bring its row back, and the payload with it.
TEST_F(SegmentStorageTest, ARemovalThatIsNotOnTheDiskGivesNothingBack) {
  const TestPayload payload = Put(1);
  ASSERT_TRUE(storage_->Sync().ok());
  ASSERT_TRUE(storage_.End(payload.key, EndReason::kConsumed).ok());
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_EQ(Allocated(), 2 * kRoomBytes);
  ASSERT_TRUE(storage_->Sync().ok());
  EXPECT_TRUE(ComesDownTo(0));
}

TEST_F(SegmentStorageTest, SoDoRefusedPayloadsAndRemovedUploads) {
  const auto leases = storage_->ReserveSlots(2);
  ASSERT_TRUE(leases.ok());
  const Sealed segment = Sealed::CopyOf(AsBytes(std::string(5000, 's')));
  const SlotRef refused = (*leases)[0].ref;
  StoredUpload upload = {.id = {1}, .key = TestKey(2), .kind = PayloadKind::kInput};
  upload.payload = {.slot = (*leases)[1].ref, .deadline_ms = kTestDeadlineMs};
  upload.metadata = Sealed::CopyOf(AsBytes("metadata"));
  ASSERT_TRUE(storage_->StoreUpload(upload, (*leases)[1].secret).ok());
  for (const uint32_t number : {0, 1}) {
    ASSERT_TRUE(storage_->WriteSegment(TestKey(1), refused, number, kTestDeadlineMs, segment).ok());
    ASSERT_TRUE(
        storage_->WriteSegment(upload.key, upload.payload.slot, number, kTestDeadlineMs, segment)
            .ok());
  }
  ASSERT_TRUE(storage_->RemoveSegments({.key = TestKey(1), .slot = refused, .count = 2}).ok());
  ASSERT_TRUE(storage_->Sync().ok());
  EXPECT_TRUE(ComesDownTo(2 * kRoomBytes));
  ASSERT_TRUE(storage_->RemoveUpload(upload).ok());
  ASSERT_TRUE(storage_->Sync().ok());
  EXPECT_TRUE(ComesDownTo(0));
}

TEST_F(SegmentStorageTest, AFileGoesWithTheKeyOfItsHour) {
  const TestPayload payload = Put(1);
  ASSERT_TRUE(storage_->SyncRecord().ok());
  // Its row is still there: the sweep is late.
  ASSERT_TRUE(storage_->keyring()->Close(kTestDeadlineMs + 2 * kHourMs).ok());
  ASSERT_TRUE(storage_->Maintain(kTestDeadlineMs + 2 * kHourMs).ok());
  EXPECT_THAT(Files(), IsEmpty());
  EXPECT_EQ(ReadCode(payload, 0), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(storage_->SyncRecord().ok());
  Open();
  EXPECT_TRUE(storage_.Ack(payload.key).ok()) << "nobody misses it";
}

// ---- Syncs

TEST_F(SegmentStorageTest, OnlyPutsWithSegmentsWaitForThem) {
  HookedFiles files;
  storage_.options.file_system = &files;
  Open();
  const auto leases = storage_->ReserveSlots(1);
  ASSERT_TRUE(leases.ok());
  const Sealed segment = Sealed::CopyOf(AsBytes(std::string(5000, 's')));
  ASSERT_TRUE(
      storage_->WriteSegment(TestKey(1), leases->front().ref, 0, kTestDeadlineMs, segment).ok());
  Put(2, 0);
  ASSERT_TRUE(storage_->Sync().ok());
  EXPECT_EQ(files.segment_file_syncs, 0) << "an upload may take long";
  Put(3);
  ASSERT_TRUE(storage_->Sync().ok());
  EXPECT_EQ(files.segment_file_syncs, 1);
  ASSERT_TRUE(
      storage_->WriteSegment(TestKey(1), leases->front().ref, 1, kTestDeadlineMs, segment).ok());
  ASSERT_TRUE(storage_->SyncRecord().ok());
  EXPECT_EQ(files.segment_file_syncs, 2);
  storage_.Close();
}

// Its row leaves in the batch that names the segments.
TEST_F(SegmentStorageTest, AReplacementHasItsSegmentsOnTheDiskBeforeTheOtherLeaves) {
  HookedFiles files;
  storage_.options.file_system = &files;
  Open();
  const auto put = [&](uint32_t attempt) {
    return storage_.Put(
        {.key = TestKey(1), .kind = PayloadKind::kOutput, .attempt = attempt, .segment_count = 1});
  };
  ASSERT_TRUE(put(1).ok());
  EXPECT_EQ(files.segment_file_syncs, 0);
  ASSERT_TRUE(put(2).ok());
  EXPECT_EQ(files.segment_file_syncs, 1);
  storage_.Close();
}

// ---- What no row names

TEST_F(SegmentStorageTest, AStartGivesBackWhatAKilledProcessHasNot) {
  const TestPayload first = Put(1, 20);
  const TestPayload second = Put(2);
  const TestPayload third = Put(3, 20);
  ASSERT_TRUE(storage_.End(first.key, EndReason::kConsumed).ok());
  ASSERT_TRUE(storage_.End(third.key, EndReason::kConsumed).ok());
  storage_.Close();  // no sync after the removals: nothing was given back
  ASSERT_EQ(Allocated(), 42 * kRoomBytes);
  Open();
  EXPECT_EQ(Allocated(), 2 * kRoomBytes);
  EXPECT_EQ(std::filesystem::file_size(OnlyFile()), 22 * kRoomBytes - (kRoomBytes - 5000));
  EXPECT_TRUE(storage_.IsReadable(second));
  ASSERT_TRUE(storage_.Ack(second.key).ok());
  ASSERT_TRUE(ComesDownTo(0));
  EXPECT_THAT(Files(), IsEmpty()) << "a file of an earlier process that holds nothing";
}

TEST_F(SegmentStorageTest, AStartCutsOffTheTailThatNoRowNames) {
  const TestPayload payload = Put(1);
  storage_.Close();
  const std::string file = OnlyFile();
  const uint64_t size = std::filesystem::file_size(file);
  std::filesystem::resize_file(file, size + 100'000);
  Open();
  EXPECT_EQ(std::filesystem::file_size(file), size);
  EXPECT_TRUE(storage_.IsReadable(payload));
}

TEST_F(SegmentStorageTest, AStartGivesNothingBackWhileRowsCannotBeRead) {
  std::vector<TestPayload> payloads;
  for (uint32_t i = 0; i < 200; ++i) payloads.push_back(Put(i));
  ASSERT_TRUE(storage_->Maintain(kTestNowMs + kHourMs).ok());
  ASSERT_TRUE(storage_->SyncRecord().ok());
  storage_.Close();
  const uint64_t allocated = Allocated();
  DamageBlock(Path("db"), "segments");
  Open();
  EXPECT_THAT(Log(), HasSubstr("damage, reading segments"));
  EXPECT_EQ(Allocated(), allocated);
  size_t unread = 0;
  for (const TestPayload& payload : payloads) unread += storage_.IsReadable(payload) ? 0 : 1;
  EXPECT_GT(unread, 0u);
  EXPECT_LT(unread, payloads.size());
}

// ---- What was synced and is lost

TEST_F(SegmentStorageTest, AStartRefusesToLoseAFileUnlessThatIsAccepted) {
  const TestPayload large = Put(1);
  const TestPayload small = Put(2, 0);
  ASSERT_TRUE(storage_->SyncRecord().ok());
  storage_.Close();
  const std::string file = OnlyFile();
  const std::string name = std::filesystem::path(file).filename();
  const std::string kept = Path("kept");
  std::filesystem::rename(file, kept);
  const auto expect_refused = [&](const std::string& words) {
    for (int i = 0; i < 2; ++i) {
      const absl::Status refused = storage_.Open();
      EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
      EXPECT_THAT(std::string(refused.message()),
                  HasSubstr("data loss: the segment file segments/" + name + " " + words +
                            ", which holds "));
    }
  };
  expect_refused("is missing");
  std::filesystem::copy_file(kept, file);
  std::filesystem::resize_file(file, 6000);
  expect_refused("has 6000 bytes, but 13192 were written");
  std::filesystem::remove(file);
  std::filesystem::create_directory(file);
  expect_refused("is not a regular file");
  std::filesystem::remove(file);
  std::filesystem::copy_file(kept, file);
  Open();
  EXPECT_TRUE(storage_.IsReadable(large));
  storage_.Close();

  std::filesystem::remove(file);
  storage_.options.accept_data_loss = true;
  Open();
  EXPECT_EQ(ReadCode(large, 0), absl::StatusCode::kDataLoss);
  storage_.options.accept_data_loss = false;
  for (int i = 0; i < 2; ++i) {
    Open();
    EXPECT_THAT(Log(), HasSubstr("its loss was accepted before"));
    EXPECT_EQ(ReadCode(large, 0), absl::StatusCode::kDataLoss);
    EXPECT_EQ(storage_.Load(large.key).state.input, large.stored);
    EXPECT_TRUE(storage_.IsReadable(small));
    ASSERT_TRUE(storage_->SyncRecord().ok());
  }
  std::filesystem::copy_file(kept, file);
  Open();
  EXPECT_TRUE(storage_.IsReadable(large));
  storage_.Close();
  std::filesystem::remove(file);
  expect_refused("is missing");
  std::filesystem::rename(kept, file);
  Open();
  EXPECT_TRUE(storage_.Ack(large.key).ok());
  EXPECT_TRUE(ComesDownTo(0));
}

// Not the work of a crash, whether or not it was synced.
TEST_F(SegmentStorageTest, AStartRefusesAFileThatCannotBeRead) {
  const TestPayload payload = Put(1);
  storage_.Close();
  const std::string file = OnlyFile();
  std::filesystem::rename(file, Path("kept"));
  std::filesystem::create_directory(file);
  EXPECT_THAT(std::string(storage_.Open().message()), HasSubstr("is not a regular file"));
  std::filesystem::remove(file);
  std::filesystem::rename(Path("kept"), file);
  Open();
  EXPECT_TRUE(storage_.IsReadable(payload));
}

TEST_F(SegmentStorageTest, DamageOfWhatWasSyncedIsDataLossOfThatPayload) {
  const TestPayload first = Put(1);
  const TestPayload second = Put(2);
  ASSERT_TRUE(storage_->SyncRecord().ok());
  storage_.Close();
  FlipBit(OnlyFile(), 100);
  Open();
  EXPECT_EQ(ReadCode(first, 0), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ReadCode(first, 1), absl::StatusCode::kOk);
  EXPECT_TRUE(storage_.IsReadable(second));
  EXPECT_THAT(Log(), HasSubstr("damage, reading a segment"));
}

// ---- What was not synced

class UnsyncedSegmentsTest : public SegmentStorageTest,
                             public testing::WithParamInterface<std::string> {
 protected:
  // As a loss of power may leave the second segment of the first payload.
  void LoseUnsynced() {
    storage_.Close();
    const std::string file = OnlyFile();
    if (GetParam() == "Damaged") FlipBit(file, kRoomBytes + 10);
    if (GetParam() == "Short") std::filesystem::resize_file(file, kRoomBytes + 10);
    if (GetParam() == "Missing") std::filesystem::remove(file);
  }
};
INSTANTIATE_TEST_SUITE_P(Losses, UnsyncedSegmentsTest,
                         testing::Values("Damaged", "Short", "Missing"),
                         [](const auto& loss) { return loss.param; });

TEST_P(UnsyncedSegmentsTest, ItsPayloadWasNeverStored) {
  // In some orders the row was known to be synced, as that of an upload may be.
  for (const bool is_recorded : {true, false}) {
    SCOPED_TRACE(is_recorded);
    const TestPayload lost = Put(1);
    if (is_recorded) {
      ASSERT_TRUE(storage_->Sync().ok());
    }
    LoseUnsynced();
    Open();
    EXPECT_THAT(Log(), HasSubstr("1 large payloads were on the disk: they count as never stored"));
    for (int start = 0; start < 2; ++start) {
      EXPECT_EQ(storage_->StateOf(lost.stored.slot), SlotState::kNeverStored);
      EXPECT_EQ(storage_.Load(lost.key).state, CallState());
      EXPECT_EQ(storage_.Load(lost.key).dead_input, lost.stored);
      EXPECT_EQ(ReadCode(lost, 1), absl::StatusCode::kNotFound);
      Open();
    }
    const Orphans orphans = FindOrphans();
    ASSERT_THAT(orphans.rows, SizeIs(1));
    EXPECT_THAT(orphans.slots, ElementsAre(lost.stored.slot));
    EXPECT_EQ(orphans.unnamed_slot_count, 0u);
    // A crash after the erasure, and before the row leaves.
    ASSERT_TRUE(storage_->RemoveOrphans(0, {.slots = orphans.slots}, {}).ok());
    Open();
    EXPECT_EQ(storage_->StateOf(lost.stored.slot), SlotState::kNeverStored) << "not: has ended";
    ASSERT_TRUE(storage_->RemoveOrphans(0, FindOrphans(), {}).ok());
    ASSERT_TRUE(storage_->Sync().ok());
    EXPECT_TRUE(FindOrphans().empty());
    EXPECT_EQ(storage_->slots().StateOf(lost.stored.slot), SlotState::kErased);
    Open();
    EXPECT_TRUE(FindOrphans().empty());
    EXPECT_EQ(Allocated(), 0u);
  }
}

TEST_P(UnsyncedSegmentsTest, ItMayBePutAgainAtOnce) {
  const TestPayload lost = Put(1);
  LoseUnsynced();
  Open();
  const TestPayload again = Put(1);
  EXPECT_TRUE(storage_.IsReadable(again));
  ASSERT_TRUE(storage_->RemoveOrphans(0, FindOrphans(), {}).ok());
  ASSERT_TRUE(storage_->Sync().ok());
  Open();
  EXPECT_TRUE(storage_.IsReadable(again));
  EXPECT_NE(storage_->slots().StateOf(lost.stored.slot), SlotState::kLive);
  EXPECT_TRUE(FindOrphans().empty());
}

TEST_P(UnsyncedSegmentsTest, AnUploadGoesOnBeforeTheFirst) {
  auto leases = storage_->ReserveSlots(1);
  ASSERT_TRUE(leases.ok());
  StoredUpload upload = {.id = {1}, .key = TestKey(1), .kind = PayloadKind::kInput};
  upload.payload = {.slot = leases->front().ref, .deadline_ms = kTestDeadlineMs};
  upload.metadata = Sealed::CopyOf(AsBytes("metadata"));
  ASSERT_TRUE(storage_->StoreUpload(upload, leases->front().secret).ok());
  const Sealed segment = Sealed::CopyOf(AsBytes(std::string(5000, 's')));
  const auto write = [&](uint32_t number) {
    return storage_->WriteSegment(upload.key, upload.payload.slot, number, kTestDeadlineMs,
                                  segment);
  };
  for (const uint32_t number : {0, 1, 2, 3}) ASSERT_TRUE(write(number).ok());
  LoseUnsynced();
  Open();
  const uint32_t kept = GetParam() == "Missing" ? 0 : 1;
  for (const uint32_t number : {0, 1, 2, 3}) {
    EXPECT_EQ(storage_->ReadSegment(upload.key, upload.payload.slot, number).ok(), number < kept);
  }
  EXPECT_EQ(Allocated(), kept * kRoomBytes);
  const auto uploads = storage_->LoadUploads();
  ASSERT_TRUE(uploads.ok());
  EXPECT_THAT(*uploads, SizeIs(1));
  EXPECT_TRUE(FindOrphans().empty());
  for (uint32_t number = kept; number < 4; ++number) ASSERT_TRUE(write(number).ok());
  ASSERT_TRUE(storage_->RemoveUpload(upload).ok());
  ASSERT_TRUE(storage_->Sync().ok());
  EXPECT_TRUE(ComesDownTo(0));
}

// All that a killed process has written is there, and only that is read.
TEST_F(SegmentStorageTest, AfterAKillWhatWasNotRecordedIsCheckedAndSynced) {
  const TestPayload recorded = Put(1);
  ASSERT_TRUE(storage_->SyncRecord().ok());
  const TestPayload unsynced = Put(2);
  Open();
  EXPECT_TRUE(storage_.IsReadable(recorded));
  EXPECT_TRUE(storage_.IsReadable(unsynced));
  // By now both are known to be on the disk.
  storage_.Close();
  FlipBit(OnlyFile(), 2 * kRoomBytes + 10);
  Open();
  EXPECT_TRUE(storage_.IsReadable(recorded));
  EXPECT_EQ(ReadCode(unsynced, 0), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace mayfly
