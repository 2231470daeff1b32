#include "storage/local/local_storage.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/storage_harness.h"
#include "support/descriptor_famine.h"

namespace mayfly {
namespace {

// What is local storage's alone; conformance_*_test.cc have what it shares with every engine.
class LocalStorageTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(storage_.Open().ok()); }

  StorageHarness storage_;
};

TEST_F(LocalStorageTest, ATimeRecordForWhichNoDescriptorIsFreeIsNotAFailedWrite) {
  ASSERT_TRUE(storage_->SaveTimeRecord("before").ok());
  {
    const DescriptorFamine famine;
    EXPECT_FALSE(storage_->SaveTimeRecord("during").ok());
  }
  EXPECT_TRUE(storage_->Health().ok());
  EXPECT_EQ(**storage_->LoadTimeRecord(), "before");
  EXPECT_TRUE(storage_->SaveTimeRecord("after").ok());
}

TEST_F(LocalStorageTest, AnswersFromTheIndexAsFromTheDisk) {
  ASSERT_TRUE(storage_.Put({.key = TestKey(1)}).ok());
  EXPECT_EQ(storage_->IndexedCalls(), 1u);
  const LoadedCall indexed = storage_.Load(TestKey(1));
  storage_.options.index_calls_max = 0;
  ASSERT_TRUE(storage_.Open().ok());
  EXPECT_EQ(storage_.Load(TestKey(1)).state, indexed.state);
  EXPECT_EQ(storage_->IndexedCalls(), 0u);
}

TEST(LocalStorage, RefusesPutsBelowTheReserve) {
  StorageHarness storage;
  storage.options.disk_reserve_bytes = UINT64_MAX;
  // A new store would be of no use. One with data has acks and expiry to go on with.
  const absl::Status useless = storage.Open();
  EXPECT_EQ(useless.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(useless.message()),
              testing::HasSubstr("before it takes the first put, with storage.disk_reserve_bytes"));
  storage.options.disk_reserve_bytes = 0;
  ASSERT_TRUE(storage.Open().ok());
  storage.options.disk_reserve_bytes = UINT64_MAX;
  ASSERT_TRUE(storage.Open().ok());
  EXPECT_TRUE(storage->ReserveRoom(1).empty());
  const absl::Status refused = storage->RoomRefusal(1);
  EXPECT_EQ(ReasonOf(refused), Reason::kDiskFull);
  EXPECT_GT(RetryDelayOf(refused), absl::ZeroDuration());
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("disk_reserve_bytes"));
  storage.options.disk_reserve_bytes = 0;
  ASSERT_TRUE(storage.Open().ok());
  EXPECT_FALSE(storage->ReserveRoom(1).empty());
}

}  // namespace
}  // namespace mayfly
