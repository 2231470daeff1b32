// The files that hold large payloads: what goes in comes out, room comes back, failures are told.
#include "storage/local/segment_files.h"

#include <filesystem>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "base/notification.h"
#include "storage/hooked_files.h"
#include "storage/storage_harness.h"
#include "support/damage.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr uint32_t kHour = 498'751;

// A full disk, as base/file_system.cc tells of one.
absl::Status OutOfSpace() {
  const auto file = PosixFileSystem()->Open("/dev/full", /*create=*/false);
  const uint8_t byte = 0;
  return file.ok() ? (*file)->WriteAt(0, ByteSpan(&byte, 1)) : file.status();
}

class SegmentFilesTest : public testing::Test {
 protected:
  SegmentFilesTest()
      : health_([this](StorageLogLevel, absl::string_view text) { log_.emplace_back(text); }) {
    Begin(1);
  }

  // As another process would.
  void Begin(uint32_t boot, uint64_t file_bytes_max = SegmentFiles::kFileBytesMax) {
    segments_ =
        std::make_unique<SegmentFiles>(SegmentFiles::Options{.directory = directory_.path(),
                                                             .file_system = &files_,
                                                             .boot = boot,
                                                             .health = &health_,
                                                             .file_bytes_max = file_bytes_max});
  }
  static std::string TextOf(char c, size_t size = 100'000) { return std::string(size, c); }
  SegmentExtent Append(const std::string& text, uint32_t due_hour = kHour) {
    const auto extent = segments_->Append(due_hour, AsBytes(text));
    EXPECT_TRUE(extent.ok()) << extent.status();
    return extent.value_or(SegmentExtent());
  }
  std::string Read(const SegmentExtent& extent) {
    const auto segment = segments_->Read(extent);
    return segment.ok() ? std::string(AsText(segment->bytes())) : segment.status().ToString();
  }
  absl::StatusCode ReadCode(const SegmentExtent& extent) {
    return segments_->Read(extent).status().code();
  }
  std::string PathOf(const SegmentFileId& id) {
    return directory_.path() + "/" + SegmentFileName(id);
  }
  uint64_t Allocated(const SegmentFileId& id) {
    const auto file = PosixFileSystem()->Open(PathOf(id), /*create=*/false);
    return file.ok() ? (*file)->AllocatedBytes().value_or(0) : 0;
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  TestDirectory directory_;
  std::vector<std::string> log_;
  StorageHealth health_;
  HookedFiles files_;
  std::unique_ptr<SegmentFiles> segments_;
};

TEST_F(SegmentFilesTest, GivesBackWhatWasAppended) {
  const SegmentExtent first = Append(TextOf('a'));
  const SegmentExtent second = Append(TextOf('b', 5));
  const SegmentExtent other_hour = Append(TextOf('c'), kHour + 1);
  EXPECT_EQ(Read(first), TextOf('a'));
  EXPECT_EQ(Read(second), TextOf('b', 5));
  EXPECT_EQ(Read(other_hour), TextOf('c'));
  EXPECT_EQ(first.file, second.file);
  EXPECT_EQ(second.offset % kSegmentAlignment, 0u);
  EXPECT_THAT(Names(), UnorderedElementsAre("498751-1-1.segments", "498752-1-2.segments"));
  // Another process finds them by what the first has told, and never appends to its files.
  Begin(2);
  EXPECT_EQ(Read(first), TextOf('a'));
  EXPECT_NE(Append(TextOf('d')).file, first.file);
  EXPECT_THAT(Names(), SizeIs(3));
}

TEST_F(SegmentFilesTest, NamesAreReadAsTheyAreWritten) {
  const SegmentFileId id = {.due_hour = 1, .boot = 2, .number = 3};
  EXPECT_EQ(ParseSegmentFileName(SegmentFileName(id)), id);
  for (const std::string name : {"", "1-2-3", "1-2.segments", "01-2-3.segments", "-1-2-3.segments",
                                 "1-2-3-4.segments", "1-2-x.segments", "1-2-4294967296.segments"}) {
    EXPECT_EQ(ParseSegmentFileName(name), std::nullopt) << name;
  }
}

TEST_F(SegmentFilesTest, BeginsAnotherFileWhenOneIsFull) {
  Begin(1, /*file_bytes_max=*/1 << 20);
  std::vector<SegmentExtent> extents;
  for (int i = 0; i < 30; ++i) extents.push_back(Append(TextOf(static_cast<char>('a' + i))));
  EXPECT_THAT(Names(), SizeIs(3));
  for (int i = 0; i < 30; ++i) {
    EXPECT_LE(extents[i].end(), 1u << 20);
    EXPECT_EQ(Read(extents[i]), TextOf(static_cast<char>('a' + i)));
  }
}

TEST_F(SegmentFilesTest, GivesTheRoomOfEachSegmentBack) {
  std::vector<SegmentExtent> extents;
  for (int i = 0; i < 10; ++i) extents.push_back(Append(TextOf(static_cast<char>('a' + i))));
  const SegmentFileId file = extents[0].file;
  ASSERT_GE(Allocated(file), 10 * extents[0].size_bytes);
  segments_->Release({extents[3], extents[2], extents[7]});
  EXPECT_EQ(files_.punches, 2) << "neighbours are one hole";
  EXPECT_LE(Allocated(file), 7 * extents[0].room_bytes());
  for (const int i : {0, 1, 4, 5, 6, 8, 9}) {
    EXPECT_EQ(Read(extents[i]), TextOf(static_cast<char>('a' + i)));
  }
  EXPECT_EQ(ReadCode(extents[2]), absl::StatusCode::kDataLoss);
}

TEST_F(SegmentFilesTest, RemovesAFileThatHoldsNothing) {
  Begin(1, /*file_bytes_max=*/1 << 20);
  std::vector<SegmentExtent> extents;
  for (int i = 0; i < 11; ++i) extents.push_back(Append(TextOf('a')));
  const SegmentFileId full = extents.front().file;
  ASSERT_NE(extents.back().file, full);
  const SegmentExtent last = extents.back();
  extents.pop_back();
  segments_->Release(extents);
  EXPECT_THAT(Names(), ElementsAre(SegmentFileName(last.file)));
  EXPECT_THAT(segments_->TakeNews().removed, ElementsAre(full));
  // One that is appended to stays: others come at once.
  segments_->Release({last});
  EXPECT_THAT(Names(), ElementsAre(SegmentFileName(last.file)));
  EXPECT_EQ(Allocated(last.file), 0u);
  EXPECT_EQ(Read(Append(TextOf('z'))), TextOf('z'));
}

TEST_F(SegmentFilesTest, AFileOfAnEarlierProcessGoesWithTheLastOfIt) {
  const SegmentExtent first = Append(TextOf('a'));
  const SegmentExtent second = Append(TextOf('b'));
  Begin(2);
  segments_->Adopt({.id = first.file, .live = {first.place(), second.place()}});
  segments_->Release({first});
  segments_->Release({first, first});
  EXPECT_EQ(Read(second), TextOf('b'));
  segments_->Release({second});
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_EQ(ReadCode(second), absl::StatusCode::kNotFound);
}

TEST_F(SegmentFilesTest, WithoutHolesTheRoomComesBackWithTheFile) {
  files_.on_punch = [] { return absl::UnimplementedError("punching a hole"); };
  const SegmentExtent first = Append(TextOf('a'));
  const SegmentExtent second = Append(TextOf('b'));
  const SegmentExtent third = Append(TextOf('c'));
  segments_->Release({first});
  segments_->Release({second});
  EXPECT_EQ(files_.punches, 1) << "it is not tried again";
  EXPECT_THAT(log_, ElementsAre(HasSubstr("has no holes")));
  EXPECT_EQ(Read(third), TextOf('c'));
  segments_->Release({third});
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_EQ(Read(Append(TextOf('d'))), TextOf('d'));
  EXPECT_TRUE(health_.Check().ok());
}

TEST_F(SegmentFilesTest, AFileSystemThatNeedsRoomToFreeRoomIsNoFailure) {
  const SegmentExtent first = Append(TextOf('a'));
  const SegmentExtent second = Append(TextOf('b'));
  files_.on_punch = [] { return OutOfSpace(); };
  segments_->Release({first});
  EXPECT_TRUE(health_.Check().ok());
  EXPECT_EQ(Read(second), TextOf('b'));
  files_.on_punch = [] { return absl::UnavailableError("EIO"); };
  segments_->Release({second});
  EXPECT_EQ(ReasonOf(health_.Check()), Reason::kStorageDown);
}

TEST_F(SegmentFilesTest, AFullDiskChangesNothing) {
  const SegmentExtent before = Append(TextOf('a'));
  files_.on_write = [](uint64_t) { return OutOfSpace(); };
  for (int i = 0; i < 3; ++i) {
    const auto refused = segments_->Append(kHour, AsBytes(TextOf('b')));
    EXPECT_TRUE(IsOutOfSpace(refused.status())) << refused.status();
  }
  EXPECT_LE(Allocated(before.file), before.room_bytes()) << "half of it was written";
  files_.on_create = [] { return OutOfSpace(); };
  EXPECT_TRUE(IsOutOfSpace(segments_->Append(kHour + 1, AsBytes("x")).status()));
  EXPECT_TRUE(health_.Check().ok());
  files_.on_create = nullptr;
  files_.on_write = nullptr;
  const SegmentExtent after = Append(TextOf('c'));
  EXPECT_EQ(after.offset, before.room_bytes()) << "the place is taken by the next one";
  EXPECT_EQ(Read(before), TextOf('a'));
  EXPECT_EQ(Read(after), TextOf('c'));
  EXPECT_EQ(Read(Append("x", kHour + 1)), "x");
}

TEST_F(SegmentFilesTest, AFailedWriteOrSyncIsTheEnd) {
  Append(TextOf('a'));
  files_.on_sync = [] { return absl::UnavailableError("sync failed"); };
  EXPECT_EQ(ReasonOf(segments_->Sync()), Reason::kStorageDown);
  EXPECT_THAT(health_.failure(), HasSubstr("syncing a segment file failed"));

  StorageHealth other_health(nullptr);
  SegmentFiles others(
      {.directory = directory_.path(), .file_system = &files_, .boot = 2, .health = &other_health});
  files_.on_write = [](uint64_t) { return absl::UnavailableError("write failed"); };
  EXPECT_EQ(ReasonOf(others.Append(kHour, AsBytes("x")).status()), Reason::kStorageDown);
}

TEST_F(SegmentFilesTest, SyncsEachFileThatHasChangedAndTheDirectoryWithANewOne) {
  const SegmentExtent first = Append(TextOf('a'));
  const SegmentExtent other = Append(TextOf('b'), kHour + 1);
  ASSERT_TRUE(segments_->is_dirty());
  ASSERT_TRUE(segments_->Sync().ok());
  EXPECT_FALSE(segments_->is_dirty());
  EXPECT_EQ(files_.segment_file_syncs, 2);
  EXPECT_EQ(files_.directory_syncs, 1);
  EXPECT_THAT(segments_->TakeNews().synced_bytes,
              UnorderedElementsAre(Pair(first.file, first.room_bytes()),
                                   Pair(other.file, other.room_bytes())));
  Append(TextOf('c'));
  ASSERT_TRUE(segments_->Sync().ok());
  ASSERT_TRUE(segments_->Sync().ok());
  EXPECT_EQ(files_.segment_file_syncs, 3);
  EXPECT_EQ(files_.directory_syncs, 1);
  EXPECT_THAT(segments_->TakeNews().synced_bytes,
              ElementsAre(Pair(first.file, 2 * first.room_bytes())));
  EXPECT_THAT(segments_->TakeNews().synced_bytes, IsEmpty());
}

// A later segment may be there while that one is not.
TEST_F(SegmentFilesTest, CountsAsSyncedOnlyWhatLiesBelowTheFirstThatIsBeingWritten) {
  const SegmentExtent first = Append(TextOf('a'));
  Notification is_writing;
  Notification may_write;
  files_.on_write = [&](uint64_t offset) {
    if (offset == first.room_bytes()) {
      is_writing.Notify();
      may_write.WaitForNotification();
    }
    return absl::OkStatus();
  };
  std::thread slow([&] { Append(TextOf('b')); });
  is_writing.WaitForNotification();
  Append(TextOf('c'));
  ASSERT_TRUE(segments_->Sync().ok());
  EXPECT_THAT(segments_->TakeNews().synced_bytes,
              ElementsAre(Pair(first.file, first.room_bytes())));
  may_write.Notify();
  slow.join();
  ASSERT_TRUE(segments_->Sync().ok());
  EXPECT_THAT(segments_->TakeNews().synced_bytes,
              ElementsAre(Pair(first.file, 3 * first.room_bytes())));
}

TEST_F(SegmentFilesTest, TellsDamageFromLoss) {
  const SegmentExtent segment = Append(TextOf('a'));
  ASSERT_TRUE(segments_->Sync().ok());
  Begin(2);
  const std::string path = PathOf(segment.file);
  FlipBit(path, 50'000);
  const absl::Status damaged = segments_->Read(segment).status();
  EXPECT_EQ(damaged.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(damaged.message()), HasSubstr("segments/498751-1-1.segments is damaged"));
  FlipBit(path, 50'000);
  EXPECT_EQ(Read(segment), TextOf('a'));
  std::filesystem::resize_file(path, 1000);
  EXPECT_EQ(ReadCode(segment), absl::StatusCode::kOutOfRange);
  std::filesystem::remove(path);
  EXPECT_EQ(ReadCode(segment), absl::StatusCode::kNotFound);
}

TEST_F(SegmentFilesTest, HoldsFewFilesOpen) {
  const auto open_files = [] {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return std::distance(begin(all), end(all));
  };
  const auto before = open_files();
  Begin(1, /*file_bytes_max=*/kSegmentAlignment);
  std::vector<SegmentExtent> extents;
  for (int i = 0; i < 300; ++i) extents.push_back(Append("x"));
  ASSERT_TRUE(segments_->Sync().ok());
  for (const SegmentExtent& extent : extents) EXPECT_EQ(Read(extent), "x");
  EXPECT_LE(open_files() - before, static_cast<ptrdiff_t>(SegmentFiles::kOpenFilesMax + 1));
}

TEST_F(SegmentFilesTest, RemovesTheFilesOfHoursThatAreOver) {
  Append(TextOf('a'), kHour);
  const SegmentExtent adopted = Append(TextOf('b'), kHour + 1);
  const SegmentExtent later = Append(TextOf('c'), kHour + 2);
  segments_->RemoveHoursBefore(kHour + 2);
  EXPECT_THAT(Names(), ElementsAre(SegmentFileName(later.file)));
  EXPECT_THAT(segments_->TakeNews().removed, SizeIs(2));
  // Late, but not lost.
  segments_->Release({adopted});
  EXPECT_EQ(Read(Append(TextOf('d'), kHour)), TextOf('d'));
  EXPECT_TRUE(segments_->Sync().ok());
}

// Readers and writers of one file, while others are released.
TEST_F(SegmentFilesTest, ManyThreadsAtOnce) {
  Begin(1, /*file_bytes_max=*/1 << 20);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        const std::string text = TextOf(static_cast<char>('a' + t), 20'000 + i);
        const SegmentExtent extent = Append(text, kHour + static_cast<uint32_t>(i % 2));
        EXPECT_EQ(Read(extent), text);
        if (i % 10 == t) {
          EXPECT_TRUE(segments_->Sync().ok());
        }
        segments_->Release({extent});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(health_.Check().ok());
  EXPECT_LE(segments_->file_count(), 2u) << "those that are appended to";
}

}  // namespace
}  // namespace mayfly
