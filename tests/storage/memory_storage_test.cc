// What storage in memory does beyond other engines: it loses a shard, as an engine of several machines
// may.
#include "storage/memory/memory_storage.h"

#include <optional>
#include <string>
#include <utility>

#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/storage_error.h"

namespace mayfly {
namespace {

class MemoryStorageTest : public testing::Test {
 protected:
  void Open(uint64_t seed) {
    disk_.emplace(seed);
    auto storage = MemoryStorage::Open(
        {.disk = &*disk_,
         .root_key = SecretBytes(AsBytes(std::string(32, 'r'))),
         .on_operation = [this](DiskOperation operation) {
           const bool is_lost = operation == DiskOperation::kCommit && lost_ && count_++ == 0;
           return is_lost ? WithKind(absl::UnavailableError("lost"), *lost_) : absl::OkStatus();
         }});
    ASSERT_TRUE(storage.ok());
    storage_ = *std::move(storage);
  }
  absl::Status Commit(uint32_t shard) {
    const TenantUsage usage = {.tenant = TenantNumber{1}, .live_calls = 1};
    return storage_->Commit(shard, {}, {&usage, 1});
  }
  bool IsCommitted(uint32_t shard) { return !storage_->LoadUsage(shard)->empty(); }

  std::optional<StorageErrorKind> lost_;
  int count_ = 0;
  std::optional<MemoryDisk> disk_;
  std::unique_ptr<MemoryStorage> storage_;
};

TEST_F(MemoryStorageTest, AFencedCommitWritesNothingAndItsShardTakesNoOther) {
  lost_ = StorageErrorKind::kFenced;
  Open(1);
  EXPECT_EQ(KindOf(Commit(0)), StorageErrorKind::kFenced);
  EXPECT_FALSE(IsCommitted(0));
  EXPECT_EQ(KindOf(Commit(0)), StorageErrorKind::kFenced);
  EXPECT_FALSE(IsCommitted(0));
  EXPECT_TRUE(Commit(1).ok()) << "another shard";
  EXPECT_TRUE(IsCommitted(1));
  EXPECT_TRUE(storage_->Health().ok());
}

TEST_F(MemoryStorageTest, AnUncertainCommitIsDoneOrNot) {
  lost_ = StorageErrorKind::kUncertain;
  int done = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    count_ = 0;
    storage_.reset();
    Open(seed);
    EXPECT_EQ(KindOf(Commit(0)), StorageErrorKind::kUncertain);
    if (IsCommitted(0)) ++done;
    EXPECT_EQ(KindOf(Commit(0)), StorageErrorKind::kFenced);
  }
  EXPECT_GT(done, 5);
  EXPECT_LT(done, 35);
}

}  // namespace
}  // namespace mayfly
