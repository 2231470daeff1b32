#include "base/file_system.h"

#include <filesystem>
#include <limits>
#include <memory>
#include <stdlib.h>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "support/descriptor_famine.h"
#include "support/temporary_directory.h"

namespace mayfly {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr size_t kNever = std::numeric_limits<size_t>::max();

// The operations of one FaultyFileSystem and its files, of which the `fail_at`-th fails.
class Faults {
 public:
  explicit Faults(size_t fail_at) : fail_at_(fail_at) {}

  absl::Status Note(const std::string& operation) {
    operations_.push_back(operation);
    return operations_.size() - 1 == fail_at_ ? absl::UnavailableError("injected")
                                              : absl::OkStatus();
  }
  const std::vector<std::string>& operations() const { return operations_; }

 private:
  size_t fail_at_;
  std::vector<std::string> operations_;
};

class FaultyFile : public File {
 public:
  FaultyFile(Faults* faults, std::unique_ptr<File> file)
      : faults_(faults), file_(std::move(file)) {}

  absl::Status ReadAt(uint64_t offset, MutableByteSpan out) override {
    return file_->ReadAt(offset, out);
  }
  absl::Status WriteAt(uint64_t offset, ByteSpan data) override {
    RETURN_IF_ERROR(faults_->Note("write"));
    return file_->WriteAt(offset, data);
  }
  absl::Status Sync() override {
    RETURN_IF_ERROR(faults_->Note("sync"));
    return file_->Sync();
  }
  absl::StatusOr<uint64_t> Size() override { return file_->Size(); }
  absl::StatusOr<ByteSpan> Map(uint64_t size) override { return file_->Map(size); }

 private:
  Faults* faults_;
  std::unique_ptr<File> file_;
};

class FaultyFileSystem : public FileSystem {
 public:
  explicit FaultyFileSystem(Faults* faults) : faults_(faults) {}

  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, bool create) override {
    RETURN_IF_ERROR(faults_->Note("open"));
    auto file = PosixFileSystem()->Open(path, create);
    RETURN_IF_ERROR(file.status());
    return std::make_unique<FaultyFile>(faults_, *std::move(file));
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    RETURN_IF_ERROR(faults_->Note("rename"));
    return PosixFileSystem()->Rename(from, to);
  }
  absl::Status Remove(const std::string& path) override {
    RETURN_IF_ERROR(faults_->Note("remove"));
    return PosixFileSystem()->Remove(path);
  }
  absl::Status SyncDirectory(const std::string& path) override {
    RETURN_IF_ERROR(faults_->Note("sync directory"));
    return PosixFileSystem()->SyncDirectory(path);
  }
  bool Exists(const std::string& path) override { return PosixFileSystem()->Exists(path); }

 private:
  Faults* faults_;
};

class FileSystemTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "mayfly_base_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  absl::Status Replace(FileSystem* file_system, absl::string_view content) {
    return ReplaceFile(file_system, directory_, "clock", AsBytes(content));
  }
  absl::StatusOr<std::string> Content(uint64_t bytes_max = 1 << 20) {
    return ReadFile(PosixFileSystem(), directory_ + "/clock", bytes_max);
  }

  std::string directory_;
};

TEST_F(FileSystemTest, ReplaceFileReplacesTheWhole) {
  ASSERT_TRUE(Replace(PosixFileSystem(), "a longer content").ok());
  EXPECT_EQ(*Content(), "a longer content");
  ASSERT_TRUE(Replace(PosixFileSystem(), "short").ok());
  EXPECT_EQ(*Content(), "short");
  ASSERT_TRUE(Replace(PosixFileSystem(), "").ok());
  EXPECT_EQ(*Content(), "");
}

TEST_F(FileSystemTest, ReplaceFileSyncsBeforeItRenamesAndTheDirectoryAfter) {
  Faults faults(kNever);
  FaultyFileSystem file_system(&faults);
  ASSERT_TRUE(Replace(&file_system, "new").ok());
  EXPECT_THAT(faults.operations(),
              ElementsAre("open", "write", "sync", "rename", "sync directory"));
}

TEST_F(FileSystemTest, ReplaceFileLeavesOldOrNewWhicheverOperationFails) {
  for (size_t fail_at = 0;; ++fail_at) {
    ASSERT_TRUE(Replace(PosixFileSystem(), "the old content").ok());
    Faults faults(fail_at);
    FaultyFileSystem file_system(&faults);
    const absl::Status status = Replace(&file_system, "new");
    if (faults.operations().size() <= fail_at) {
      EXPECT_TRUE(status.ok());
      EXPECT_GE(fail_at, 5) << "each of the five operations failed once";
      break;
    }
    EXPECT_FALSE(status.ok()) << "a failed " << faults.operations().back() << " was hidden";
    EXPECT_THAT(*Content(), AnyOf("the old content", "new"));
    if (faults.operations().back() != "sync directory") {
      EXPECT_EQ(*Content(), "the old content");
    }
  }
}

TEST_F(FileSystemTest, ReplaceFileIsNotDisturbedByALongerLeftover) {
  Faults faults(2);  // the sync: what was written stays behind
  FaultyFileSystem file_system(&faults);
  ASSERT_FALSE(Replace(&file_system, "a leftover that is long").ok());
  ASSERT_TRUE(Replace(PosixFileSystem(), "new").ok());
  EXPECT_EQ(*Content(), "new");
}

TEST_F(FileSystemTest, ReplaceFileLetsOnlyItsOwnerRead) {
  ASSERT_TRUE(Replace(PosixFileSystem(), "new").ok());
  using std::filesystem::perms;
  const perms mode = std::filesystem::status(directory_ + "/clock").permissions();
  EXPECT_EQ(mode & (perms::group_all | perms::others_all), perms::none);
}

TEST_F(FileSystemTest, ReadFileTellsAMissingFileFromALongOne) {
  EXPECT_EQ(Content().status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(Replace(PosixFileSystem(), "12345").ok());
  EXPECT_EQ(Content(4).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(*Content(5), "12345");
}

TEST_F(FileSystemTest, NoErrorNamesAPath) {
  EXPECT_THAT(std::string(Content().status().message()), Not(HasSubstr(directory_)));
  const absl::Status status = PosixFileSystem()->Rename(directory_ + "/a", directory_ + "/b");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr(directory_)));
}

TEST_F(FileSystemTest, WritesInPlaceAndReadsPastNoEnd) {
  auto file = PosixFileSystem()->Open(directory_ + "/slots", /*create=*/true);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->WriteAt(0, AsBytes("0123456789")).ok());
  ASSERT_TRUE((*file)->WriteAt(4, AsBytes("xy")).ok());
  ASSERT_TRUE((*file)->Sync().ok());
  EXPECT_EQ(*(*file)->Size(), 10);
  std::vector<uint8_t> out(5);
  ASSERT_TRUE((*file)->ReadAt(3, absl::MakeSpan(out)).ok());
  EXPECT_EQ(AsText(out), "3xy67");
  EXPECT_EQ((*file)->ReadAt(6, absl::MakeSpan(out)).code(), absl::StatusCode::kOutOfRange);
}

TEST_F(FileSystemTest, AMappingShowsLaterWritesAndOutlivesALargerOne) {
  auto file = PosixFileSystem()->Open(directory_ + "/slots", /*create=*/true);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->WriteAt(0, AsBytes(std::string(4096, 'a'))).ok());
  const auto small = (*file)->Map(4096);
  ASSERT_TRUE(small.ok()) << small.status();
  ASSERT_TRUE((*file)->WriteAt(4096, AsBytes(std::string(4096, 'b'))).ok());
  const auto large = (*file)->Map(8192);
  ASSERT_TRUE(large.ok()) << large.status();
  ASSERT_TRUE((*file)->WriteAt(1, AsBytes("c")).ok());
  EXPECT_EQ(AsText(small->first(3)), "aca");
  EXPECT_EQ(AsText(large->subspan(4095, 2)), "ab");
}

TEST(DescriptorFamineTest, AnOpenThatFindsNoDescriptorHasWrittenNothing) {
  TemporaryDirectory directory;
  ASSERT_TRUE(ReplaceFile(PosixFileSystem(), directory.path(), "file", AsBytes("old")).ok());
  {
    const DescriptorFamine famine;
    const absl::Status status =
        ReplaceFile(PosixFileSystem(), directory.path(), "file", AsBytes("new"));
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_TRUE(WroteNothing(status)) << status;
  }
  EXPECT_EQ(*ReadFile(PosixFileSystem(), directory / "file", 100), "old");
  EXPECT_TRUE(ReplaceFile(PosixFileSystem(), directory.path(), "file", AsBytes("new")).ok());
  EXPECT_FALSE(WroteNothing(absl::UnavailableError("write failed")));
}

TEST(DescriptorFamineTest, AnOpenWaitsForADescriptor) {
  TemporaryDirectory directory;
  auto famine = std::make_unique<DescriptorFamine>();
  std::thread relief([&] {
    usleep(100'000);
    famine = nullptr;
  });
  EXPECT_TRUE(ReplaceFile(PosixFileSystem(), directory.path(), "file", AsBytes("new")).ok());
  relief.join();
}

}  // namespace
}  // namespace mayfly
