// Replaced or moved segments: a download must not complete as if they were genuine.

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "store/payload_cipher.h"
#include "store/store_harness.h"

namespace mayfly {
namespace {

constexpr int kSegments = 3;

class TamperedSegmentsTest : public ::testing::Test {
 protected:
  TamperedSegmentsTest() {
    harness_.Open();
    id_ = harness_.NewId();
    for (int i = 0; i < kSegments; ++i) data_ += std::string(kSegmentBytes, 'a' + i);
    NewUpload upload;
    upload.id[0] = 1;
    upload.call_id = id_;
    upload.ttl_ms = 3'600'000;
    EXPECT_EQ(harness_.Upload(std::move(upload), data_).status(), absl::OkStatus());
  }

  std::shared_ptr<Download> Begin(uint64_t offset_bytes = 0) {
    Awaited<absl::StatusOr<std::shared_ptr<Download>>> begun;
    harness_.store()->BeginDownload(
        harness_.tenant(), {.call_id = id_, .offset_bytes = offset_bytes}, begun.callback());
    return begun.Get().value();
  }
  // Reads until the end or the first error, which is stored in `status`.
  static std::string ReadAll(Download* download, absl::Status* status) {
    std::string all;
    while (true) {
      Awaited<absl::StatusOr<std::string>> read;
      download->Read(read.callback());
      const auto data = read.Get();
      *status = data.status();
      if (!data.ok() || data->empty()) return all;
      all += *data;
    }
  }

  StoreHarness harness_;
  CallId id_;
  std::string data_;
};

TEST_F(TamperedSegmentsTest, AreNotThereWithoutAHook) {
  absl::Status status;
  EXPECT_EQ(ReadAll(Begin().get(), &status), data_);
  EXPECT_EQ(status, absl::OkStatus());
}

TEST_F(TamperedSegmentsTest, TwoThatChangedPlacesAreRefused) {
  harness_.hooks.read_segment = [](Storage* storage, const CallKey& key, SlotRef slot,
                                   uint32_t number) {
    return storage->ReadSegment(key, slot, number < 2 ? 1 - number : number);
  };
  absl::Status status;
  EXPECT_EQ(ReadAll(Begin().get(), &status), "");
  EXPECT_EQ(ReasonOf(status), Reason::kAuthenticationFailed);
  // From where they are in order it goes on.
  EXPECT_EQ(ReadAll(Begin(2 * kSegmentBytes).get(), &status), data_.substr(2 * kSegmentBytes));
  EXPECT_EQ(status, absl::OkStatus());
}

TEST_F(TamperedSegmentsTest, OneOfAnotherPayloadIsRefused) {
  const CallId other = harness_.NewId();
  NewUpload upload;
  upload.id[0] = 2;
  upload.call_id = other;
  upload.ttl_ms = 3'600'000;
  ASSERT_EQ(harness_.Upload(std::move(upload), data_).status(), absl::OkStatus());
  Awaited<absl::StatusOr<std::shared_ptr<Download>>> begun;
  harness_.store()->BeginDownload(harness_.tenant(), {.call_id = other}, begun.callback());
  const auto donor = begun.Get().value();
  harness_.hooks.read_segment = [&](Storage* storage, const CallKey& key, SlotRef slot,
                                    uint32_t number) {
    if (number != 1) return storage->ReadSegment(key, slot, number);
    return storage->ReadSegment(donor->key(), donor->stored().slot, number);
  };
  absl::Status status;
  EXPECT_EQ(ReadAll(Begin().get(), &status), data_.substr(0, kSegmentBytes));
  EXPECT_EQ(ReasonOf(status), Reason::kAuthenticationFailed);
}

// As one would be that was written before a crash, lost with it, and sent again with other content:
// it opens by itself, and only the commitments in the payload's row tell that it is not the one.
TEST_F(TamperedSegmentsTest, OneThatWasSealedForThePlaceButNotPutIsRefusedAtTheEnd) {
  const auto download = Begin();
  const StoredPayload& stored = download->stored();
  const std::string forged(kSegmentBytes, 'z');
  harness_.hooks.read_segment = [&](Storage* storage, const CallKey& key, SlotRef slot,
                                    uint32_t number) -> absl::StatusOr<Sealed> {
    if (number != 1) return storage->ReadSegment(key, slot, number);
    const auto secret = storage->ReadSecret(slot);
    RETURN_IF_ERROR(secret.status());
    return PayloadCipher(storage->keyring())
        .SealSegment(key, PayloadKind::kInput, stored, *secret, number, forged);
  };
  absl::Status status;
  const std::string read = ReadAll(download.get(), &status);
  EXPECT_EQ(read.substr(kSegmentBytes, kSegmentBytes), forged);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ReasonOf(status), Reason::kAuthenticationFailed);
}

}  // namespace
}  // namespace mayfly
