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
  const RoomBudget budget_ = RoomBudget(RoomLimits{});
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

// The room that was reserved is not there after all: another program has filled the disk.
TEST_F(FullDisk, APutThatIsCutOffByItLeavesNothing) {
  int written = 0;
  harness_.hooks.write_segment = [&]() -> absl::Status {
    return ++written == 3 ? budget_.Refusal(kSegmentBytes) : absl::OkStatus();
  };
  const CallId id = harness_.NewId();
  ExpectRefused(harness_.PutInput(id, large_).status);
  EXPECT_EQ(written, 3);
  harness_.hooks.write_segment = nullptr;
  ASSERT_TRUE(harness_.PutInput(id, large_).status.ok());
  EXPECT_EQ(harness_.GetInput(id).payload.value().data, large_);
  ASSERT_TRUE(harness_.Delete(id).status.ok());
  EXPECT_EQ(CloseAndLook(), StoredData{}) << "of either";
}

TEST_F(FullDisk, AnUploadWhoseSegmentDoesNotFitGoesOnThere) {
  const CallId id = harness_.NewId();
  const auto begun = harness_.BeginUpload(InputUpload(id));
  ASSERT_TRUE(begun.ok());
  const std::string first = large_.substr(0, kSegmentBytes);
  ASSERT_TRUE(harness_.Append(*begun, 0, first).ok());
  harness_.hooks.write_segment = [&] { return budget_.Refusal(kSegmentBytes); };
  ExpectRefused(harness_.Append(*begun, kSegmentBytes, first));
  harness_.hooks.write_segment = nullptr;
  ASSERT_TRUE(harness_.Send(*begun, large_, kSegmentBytes).ok());
  ASSERT_TRUE(harness_.Finish(*begun, large_).ok());
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

// Many that were begun and refused in the middle would fill the disk until their idle timeout.
TEST_F(FullDisk, UploadsWithoutAStreamAreGivenUp) {
  const auto pass = [this](absl::Duration time) {
    harness_.clock.Advance(time);
    harness_.store()->Tick();
  };
  // After the sweep, which does the same work for each in turn.
  const auto is_kept = [this](uint8_t number) {
    Awaited<absl::StatusOr<UploadProgress>> progress;
    harness_.store()->QueryUpload(harness_.tenant(), UploadId{number}, progress.callback());
    return progress.Get().ok();
  };
  BegunUpload attached;
  for (const uint8_t number : {1, 2, 3}) {
    NewUpload upload = InputUpload(harness_.NewId());
    upload.id = UploadId{number};
    auto begun = harness_.BeginUpload(upload);
    ASSERT_TRUE(begun.ok()) << begun.status();
    ASSERT_TRUE(harness_.Append(*begun, 0, large_.substr(0, kSegmentBytes)).ok());
    attached = *std::move(begun);
  }
  pass(absl::Seconds(30));
  for (const uint8_t number : {1, 2, 3}) EXPECT_TRUE(is_kept(number)) << "there is room";

  harness_.hooks.disk_is_full = true;
  pass(absl::Seconds(5));
  for (const uint8_t number : {1, 2}) EXPECT_FALSE(is_kept(number)) << "without a stream for 35 s";
  EXPECT_TRUE(is_kept(3));
  pass(absl::Seconds(60));
  EXPECT_TRUE(is_kept(3)) << "it has a stream";
  attached.stream = nullptr;
  pass(absl::Seconds(9));
  EXPECT_TRUE(is_kept(3)) << "its client may come again";
  pass(absl::Seconds(2));
  EXPECT_FALSE(is_kept(3));
  EXPECT_EQ(harness_.tenant()->ledger.uploads(), 0);
}

}  // namespace
}  // namespace mayfly
