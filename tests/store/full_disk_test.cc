// Puts without room on the disk are rejected completely and leave nothing behind.

#include <string>

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/error.h"
#include "store/store_harness.h"
#include "support/stored_data.h"

namespace mayfly {
namespace {

constexpr size_t kSmallBytes = 1000;
constexpr size_t kLargeBytes = (5 << 20) / 2;  // three segments

class FullDisk : public ::testing::Test {
 protected:
  FullDisk() { harness_.Open(); }

  NewUpload InputUpload(const CallId& call_id) {
    NewUpload upload;
    upload.id[0] = 1;
    upload.call_id = call_id;
    upload.ttl_ms = 3'600'000;
    return upload;
  }

  StoredData CloseAndLook() {
    harness_.Close();
    return ReadStoredData(harness_.data_dir());
  }

  static void ExpectRefused(const absl::Status& status) {
    EXPECT_EQ(ReasonOf(status), Reason::kDiskFull) << status;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_GT(RetryDelayOf(status), absl::ZeroDuration());
  }

  StoreHarness harness_;
  const std::string large_ = std::string(kLargeBytes, 'x');
};

TEST_F(FullDisk, RefusesPutsOfAnySizeAndLeavesNothingBehind) {
  harness_.hooks.disk_is_full = true;
  for (const size_t size : {size_t{0}, kSmallBytes, kLargeBytes}) {
    ExpectRefused(harness_.PutInput(harness_.NewId(), large_.substr(0, size)).status);
  }
  EXPECT_EQ(CloseAndLook(), StoredData{});
}

TEST_F(FullDisk, ARetryOfWhatIsStoredSucceeds) {
  const CallId small = harness_.NewId();
  const CallId large = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(small, "data").status.ok());
  ASSERT_TRUE(harness_.PutInput(large, large_).status.ok());
  harness_.hooks.disk_is_full = true;
  EXPECT_TRUE(harness_.PutInput(small, "data").status.ok());
  EXPECT_TRUE(harness_.PutInput(large, large_).status.ok());
  EXPECT_EQ(ReasonOf(harness_.PutInput(small, "other").status), Reason::kCallConflict);
  EXPECT_EQ(harness_.GetInput(large).payload.value().data, large_);
}

TEST_F(FullDisk, AcksAndDeletesGoOnAndPutsAreTakenWhenThereIsRoomAgain) {
  const CallId acked = harness_.NewId();
  const CallId deleted = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(acked, "input").status.ok());
  ASSERT_TRUE(harness_.PutOutput(acked, "output").status.ok());
  ASSERT_TRUE(harness_.PutInput(deleted, large_).status.ok());
  harness_.hooks.disk_is_full = true;
  ExpectRefused(harness_.PutOutput(deleted, "output").status);
  const ClaimResponse claimed = harness_.Claim(acked, 7);
  ASSERT_EQ(claimed.outputs.size(), 1u);
  EXPECT_TRUE(harness_.Ack(acked, 7, claimed.outputs[0].fence).status.ok());
  EXPECT_TRUE(harness_.Delete(deleted).status.ok());
  harness_.hooks.disk_is_full = false;
  EXPECT_TRUE(harness_.PutInput(harness_.NewId(), "again").status.ok());
}

TEST_F(FullDisk, RefusesAnUploadBeforeItsFirstByte) {
  harness_.hooks.disk_is_full = true;
  NewUpload upload = InputUpload(harness_.NewId());
  upload.size_bytes = kLargeBytes;
  ExpectRefused(harness_.BeginUpload(upload).status());
  EXPECT_EQ(CloseAndLook(), StoredData{});
}

TEST_F(FullDisk, AnUploadGoesOnWhereItWasRefused) {
  const CallId id = harness_.NewId();
  const auto begun = harness_.BeginUpload(InputUpload(id));
  ASSERT_TRUE(begun.ok());
  const std::string first = large_.substr(0, kSegmentBytes);
  ASSERT_TRUE(harness_.Append(*begun, 0, first).ok());
  harness_.hooks.disk_is_full = true;
  ExpectRefused(harness_.Append(*begun, kSegmentBytes, first));
  harness_.hooks.disk_is_full = false;
  ASSERT_TRUE(harness_.Send(*begun, large_, kSegmentBytes).ok());
  // Its segments are there: what is left takes next to nothing.
  harness_.hooks.disk_is_full = true;
  EXPECT_TRUE(harness_.Finish(*begun, large_).ok());
  EXPECT_EQ(harness_.GetInput(id).payload.value().data, large_);
}

TEST_F(FullDisk, ASmallUploadIsFinishedWhenThereIsRoom) {
  const CallId id = harness_.NewId();
  const auto begun = harness_.BeginUpload(InputUpload(id));
  ASSERT_TRUE(begun.ok());
  ASSERT_TRUE(harness_.Append(*begun, 0, "data").ok());
  harness_.hooks.disk_is_full = true;
  ExpectRefused(harness_.Finish(*begun, "data").status());
  harness_.hooks.disk_is_full = false;
  EXPECT_TRUE(harness_.Finish(*begun, "data").ok());
}

}  // namespace
}  // namespace mayfly
