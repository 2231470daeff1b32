// Uploads and downloads: when payloads become visible, what can be resumed, and what is removed.

#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/error.h"
#include "store/store_harness.h"
#include "support/process_memory.h"

namespace mayfly {
namespace {

UploadId MakeUploadId(uint8_t number) {
  UploadId id{};
  id[0] = number;
  return id;
}

// Bytes that tell their place, so that a segment in another's place shows.
std::string MakeData(size_t size, uint32_t seed = 1) {
  std::string data(size, '\0');
  uint32_t state = seed;
  for (char& byte : data) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<char>(state >> 24);
  }
  return data;
}

class UploadTest : public ::testing::Test {
 protected:
  UploadTest() { harness_.Open(); }

  NewUpload InputUpload(const CallId& call_id, uint8_t number) {
    NewUpload upload;
    upload.id = MakeUploadId(number);
    upload.call_id = call_id;
    upload.ttl_ms = 3'600'000;
    upload.metadata.content_type = "application/octet-stream";
    return upload;
  }
  NewUpload OutputUpload(const CallId& call_id, uint8_t number, uint32_t attempt = 1) {
    NewUpload upload = InputUpload(call_id, number);
    upload.kind = PayloadKind::kOutput;
    upload.attempt = attempt;
    upload.metadata.outcome = Outcome::kSuccess;
    return upload;
  }

  absl::StatusOr<UploadProgress> Query(uint8_t number, Tenant* tenant = nullptr) {
    Awaited<absl::StatusOr<UploadProgress>> progress;
    harness_.store()->QueryUpload(tenant != nullptr ? tenant : harness_.tenant(),
                                  MakeUploadId(number), progress.callback());
    return progress.Get();
  }
  absl::StatusOr<std::shared_ptr<Download>> BeginDownload(const DownloadRequest& request) {
    Awaited<absl::StatusOr<std::shared_ptr<Download>>> begun;
    harness_.store()->BeginDownload(harness_.tenant(), request, begun.callback());
    return begun.Get();
  }
  static absl::StatusOr<std::string> Read(Download* download) {
    Awaited<absl::StatusOr<std::string>> data;
    download->Read(data.callback());
    return data.Get();
  }
  absl::StatusOr<std::string> DownloadAll(const DownloadRequest& request) {
    auto download = BeginDownload(request);
    RETURN_IF_ERROR(download.status());
    std::string all;
    while (true) {
      auto data = Read(download->get());
      RETURN_IF_ERROR(data.status());
      if (data->empty()) return all;
      all += *data;
    }
  }
  absl::StatusOr<std::string> DownloadInput(const CallId& id, uint64_t offset = 0) {
    return DownloadAll({.call_id = id, .offset_bytes = offset});
  }
  // The number of uploads in storage, independently of the store's state.
  size_t StoredUploads() {
    harness_.Close();
    harness_.Open();
    size_t count = 0;
    for (uint8_t number = 0; number < 10; ++number) count += Query(number).ok();
    return count;
  }

  StoreHarness harness_;
};

TEST_F(UploadTest, GivesBackWhatWasSentAtEverySize) {
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{16383}, size_t{16384}, size_t{16385}, size_t{65536},
        size_t{65537}, size_t{1048575}, size_t{1048576}, size_t{1048577}, size_t{3 << 20}}) {
    SCOPED_TRACE(size);
    const CallId id = harness_.NewId();
    const std::string data = MakeData(size);
    ASSERT_EQ(harness_.Upload(InputUpload(id, 1), data).status(), absl::OkStatus());
    EXPECT_EQ(*DownloadInput(id), data);
    const auto download = BeginDownload({.call_id = id});
    ASSERT_TRUE(download.ok());
    EXPECT_EQ((*download)->metadata().content_type, "application/octet-stream");
    EXPECT_EQ((*download)->metadata().crc32c, Crc32c(AsBytes(data)));
    EXPECT_EQ((*download)->stored().size_bytes, size);
  }
}

TEST_F(UploadTest, IsSeenByNobodyBeforeItIsFinished) {
  const CallId id = harness_.NewId();
  const std::string data = MakeData(3 << 20);
  const auto begun = harness_.BeginUpload(InputUpload(id, 1));
  ASSERT_EQ(StoreHarness::Send(*begun, data), absl::OkStatus());
  EXPECT_EQ(ReasonOf(harness_.GetInput(id).status), Reason::kCallUnknown);
  EXPECT_EQ(harness_.Phase(id), CallPhase::kUnknown);
  EXPECT_EQ(ReasonOf(DownloadInput(id).status()), Reason::kCallUnknown);
  ASSERT_TRUE(StoreHarness::Finish(*begun, data).ok());
  EXPECT_EQ(harness_.Phase(id), CallPhase::kPending);
}

TEST_F(UploadTest, APutInOneMessageAndAnUploadOfTheSameContentAreTheSame) {
  const CallId id = harness_.NewId();
  const std::string data = MakeData(100'000);
  NewUpload upload = InputUpload(id, 1);
  upload.metadata.content_type.clear();
  ASSERT_EQ(harness_.PutInput(id, data).status, absl::OkStatus());
  EXPECT_EQ(harness_.Upload(upload, data).status(), absl::OkStatus());
  EXPECT_EQ(ReasonOf(harness_.Upload(upload, MakeData(100'000, 2)).status()),
            Reason::kCallConflict);
  EXPECT_EQ(*DownloadInput(id), data);
}

TEST_F(UploadTest, AnnouncedContentThatIsThereNeedNotBeSent) {
  const CallId id = harness_.NewId();
  const std::string data = MakeData(2 << 20);
  ASSERT_EQ(harness_.Upload(InputUpload(id, 1), data).status(), absl::OkStatus());
  NewUpload again = InputUpload(id, 2);
  again.size_bytes = data.size();
  again.metadata.crc32c = Crc32c(AsBytes(data));
  again.crc32c_is_known = true;
  const auto begun = harness_.BeginUpload(again);
  ASSERT_TRUE(begun.ok());
  EXPECT_EQ(begun->stream, nullptr);
  EXPECT_GT(begun->deadline_ms, 0);
  again.metadata.crc32c += 1;
  EXPECT_EQ(ReasonOf(harness_.BeginUpload(again).status()), Reason::kCallConflict);
}

TEST_F(UploadTest, OfAConsumedCallIsAnsweredAtOnce) {
  const CallId id = harness_.NewId();
  ASSERT_EQ(harness_.PutInput(id, "in").status, absl::OkStatus());
  ASSERT_EQ(harness_.PutOutput(id, "out").status, absl::OkStatus());
  const ClaimResponse claim = harness_.Claim(id, 7);
  ASSERT_EQ(harness_.Ack(id, 7, claim.outputs.at(0).fence).status, absl::OkStatus());
  const auto begun = harness_.BeginUpload(OutputUpload(id, 1));
  ASSERT_TRUE(begun.ok()) << begun.status();
  EXPECT_EQ(begun->stream, nullptr);
  EXPECT_EQ(begun->deadline_ms, 0);
}

TEST_F(UploadTest, IsRefusedBeforeAByteIsSent) {
  const CallId id = harness_.NewId();
  EXPECT_EQ(ReasonOf(harness_.BeginUpload(OutputUpload(id, 1)).status()), Reason::kCallUnknown);
  ASSERT_EQ(harness_.PutInput(id, "in").status, absl::OkStatus());
  ASSERT_EQ(harness_.PutOutput(id, "out", 2).status, absl::OkStatus());
  EXPECT_EQ(ReasonOf(harness_.BeginUpload(OutputUpload(id, 1)).status()), Reason::kStaleAttempt);
  harness_.Claim(id, 7);
  EXPECT_EQ(ReasonOf(harness_.BeginUpload(OutputUpload(id, 1, 3)).status()),
            Reason::kOutputClaimed);
  EXPECT_EQ(ReasonOf(Query(1).status()), Reason::kUploadUnknown);
}

TEST_F(UploadTest, GoesOnWhereItBroke) {
  const CallId id = harness_.NewId();
  const std::string data = MakeData((4 << 20) + 5);
  {
    const auto begun = harness_.BeginUpload(InputUpload(id, 1));
    ASSERT_EQ(StoreHarness::Send(*begun, data.substr(0, 2 << 20)), absl::OkStatus());
  }
  ASSERT_EQ(Query(1)->committed_bytes, uint64_t{2 << 20});
  EXPECT_EQ(Query(1)->call_id, id);
  NewUpload resumed = InputUpload(id, 1);
  resumed.offset_bytes = 1 << 20;
  EXPECT_EQ(ReasonOf(harness_.BeginUpload(resumed).status()), Reason::kOffsetMismatch);
  resumed.offset_bytes = 2 << 20;
  const auto begun = harness_.BeginUpload(resumed);
  ASSERT_TRUE(begun.ok()) << begun.status();
  ASSERT_EQ(StoreHarness::Send(*begun, data, 2 << 20), absl::OkStatus());
  ASSERT_TRUE(StoreHarness::Finish(*begun, data).ok());
  EXPECT_EQ(*DownloadInput(id), data);
  EXPECT_EQ(ReasonOf(Query(1).status()), Reason::kUploadUnknown);
}

TEST_F(UploadTest, GoesOnAfterARestart) {
  const CallId id = harness_.NewId();
  const std::string data = MakeData((3 << 20) + 100'000);
  const size_t sent = 2 << 20;
  {
    const auto begun = harness_.BeginUpload(InputUpload(id, 1));
    ASSERT_EQ(StoreHarness::Send(*begun, data.substr(0, sent)), absl::OkStatus());
  }
  harness_.Reopen();
  harness_.store()->Tick();  // looks for orphans too
  ASSERT_EQ(Query(1)->committed_bytes, sent);
  NewUpload resumed = InputUpload(id, 1);
  resumed.offset_bytes = sent;
  const auto begun = harness_.BeginUpload(resumed);
  ASSERT_TRUE(begun.ok()) << begun.status();
  ASSERT_EQ(StoreHarness::Send(*begun, data, sent), absl::OkStatus());
  ASSERT_TRUE(StoreHarness::Finish(*begun, data).ok());
  harness_.store()->Tick();
  EXPECT_EQ(*DownloadInput(id), data);
  harness_.Reopen();
  harness_.store()->Tick();
  EXPECT_EQ(*DownloadInput(id), data);
}

TEST_F(UploadTest, BelongsToItsNewestStream) {
  const CallId id = harness_.NewId();
  const std::string data = MakeData(2 << 20);
  const auto old_stream = harness_.BeginUpload(InputUpload(id, 1));
  ASSERT_EQ(StoreHarness::Append(*old_stream, 0, data.substr(0, kSegmentBytes)), absl::OkStatus());
  NewUpload resumed = InputUpload(id, 1);
  resumed.offset_bytes = kSegmentBytes;
  const auto new_stream = harness_.BeginUpload(resumed);
  ASSERT_TRUE(new_stream.ok());
  EXPECT_EQ(ReasonOf(StoreHarness::Append(*old_stream, kSegmentBytes, data.substr(kSegmentBytes))),
            Reason::kUploadTakenOver);
  EXPECT_EQ(ReasonOf(StoreHarness::Finish(*old_stream, data).status()), Reason::kUploadTakenOver);
  ASSERT_EQ(StoreHarness::Append(*new_stream, kSegmentBytes, data.substr(kSegmentBytes)),
            absl::OkStatus());
  EXPECT_TRUE(StoreHarness::Finish(*new_stream, data).ok());
  EXPECT_EQ(*DownloadInput(id), data);
}

TEST_F(UploadTest, OfTwoForOneOutputOneWins) {
  const CallId id = harness_.NewId();
  ASSERT_EQ(harness_.PutInput(id, "in").status, absl::OkStatus());
  const std::string first = MakeData(2 << 20, 1);
  const std::string second = MakeData(2 << 20, 2);
  const auto one = harness_.BeginUpload(OutputUpload(id, 1));
  const auto other = harness_.BeginUpload(OutputUpload(id, 2));
  ASSERT_EQ(StoreHarness::Send(*one, first), absl::OkStatus());
  ASSERT_EQ(StoreHarness::Send(*other, second), absl::OkStatus());
  ASSERT_TRUE(StoreHarness::Finish(*one, first).ok());
  EXPECT_EQ(ReasonOf(StoreHarness::Finish(*other, second).status()), Reason::kOutputConflict);
  EXPECT_EQ(ReasonOf(Query(2).status()), Reason::kUploadUnknown);
  ClaimRequest request = StoreHarness::MakeClaim({id}, 7);
  request.bytes_max = 1000;
  const ClaimResponse claim = harness_.Claim(request);
  ASSERT_EQ(claim.outputs.size(), 1u);
  EXPECT_FALSE(claim.outputs[0].payload.has_value());
  EXPECT_EQ(*DownloadAll({.call_id = id,
                          .kind = PayloadKind::kOutput,
                          .token = MakeToken(7),
                          .fence = claim.outputs[0].fence}),
            first);
  EXPECT_EQ(StoredUploads(), 0u);
}

TEST_F(UploadTest, ThatDoesNotArriveAsItWasSentIsErased) {
  const CallId id = harness_.NewId();
  const std::string data = MakeData(2 << 20);
  const auto begun = harness_.BeginUpload(InputUpload(id, 1));
  ASSERT_EQ(StoreHarness::Send(*begun, data), absl::OkStatus());
  EXPECT_EQ(ReasonOf(StoreHarness::Finish(*begun, data.substr(0, 1 << 20)).status()),
            Reason::kOffsetMismatch);
  EXPECT_EQ(Query(1)->committed_bytes, data.size());
  EXPECT_EQ(ReasonOf(StoreHarness::Finish(*begun, MakeData(2 << 20, 2)).status()),
            Reason::kChecksumMismatch);
  EXPECT_EQ(ReasonOf(Query(1).status()), Reason::kUploadUnknown);
  EXPECT_EQ(harness_.Phase(id), CallPhase::kUnknown);
}

TEST_F(UploadTest, TakesSegmentsInOrderOnly) {
  const CallId id = harness_.NewId();
  const std::string data = MakeData((2 << 20) + 10);
  const auto begun = harness_.BeginUpload(InputUpload(id, 1));
  EXPECT_EQ(ReasonOf(StoreHarness::Append(*begun, kSegmentBytes, data.substr(0, kSegmentBytes))),
            Reason::kOffsetMismatch);
  ASSERT_EQ(StoreHarness::Append(*begun, 0, data.substr(0, kSegmentBytes)), absl::OkStatus());
  EXPECT_EQ(ReasonOf(StoreHarness::Append(*begun, 0, data.substr(0, kSegmentBytes))),
            Reason::kOffsetMismatch);
  ASSERT_EQ(StoreHarness::Append(*begun, kSegmentBytes, "short, so the last"), absl::OkStatus());
  EXPECT_EQ(ReasonOf(StoreHarness::Append(*begun, kSegmentBytes + 18, "another")),
            Reason::kOffsetMismatch);
}

TEST_F(UploadTest, IsSweptWhenNothingComesForTheIdleTimeout) {
  const CallId id = harness_.NewId();
  const auto begun = harness_.BeginUpload(InputUpload(id, 1));
  ASSERT_EQ(StoreHarness::Append(*begun, 0, MakeData(kSegmentBytes)), absl::OkStatus());
  harness_.clock.Advance(absl::Minutes(9));
  harness_.store()->Tick();
  ASSERT_EQ(StoreHarness::Append(*begun, kSegmentBytes, MakeData(kSegmentBytes)), absl::OkStatus());
  harness_.clock.Advance(absl::Minutes(9));
  harness_.store()->Tick();
  EXPECT_TRUE(Query(1).ok());
  harness_.clock.Advance(absl::Minutes(2));
  harness_.store()->Tick();
  EXPECT_EQ(ReasonOf(Query(1).status()), Reason::kUploadUnknown);
  EXPECT_EQ(ReasonOf(StoreHarness::Append(*begun, 2 * kSegmentBytes, "more")),
            Reason::kUploadUnknown);
  EXPECT_EQ(StoredUploads(), 0u);
}

TEST_F(UploadTest, HoldsNoDataWithoutAStream) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep freed memory";
#endif
  constexpr int kUploads = 1500;
  constexpr int kWarmUp = 300;
  harness_.Close();
  harness_.config.limits.uploads_max = kWarmUp + kUploads;
  harness_.Open();
  const std::string segment = MakeData(kInlineBytesMax);
  int64_t before_bytes = 0;
  for (int i = 0; i < kWarmUp + kUploads; ++i) {
    if (i == kWarmUp) before_bytes = ReadProcessMemory(getpid()).anonymous_bytes;
    NewUpload upload = InputUpload(harness_.NewId(), 0);
    upload.id[1] = static_cast<uint8_t>(i / 256);
    upload.id[2] = static_cast<uint8_t>(i % 256);
    {
      const auto begun = harness_.BeginUpload(upload);
      ASSERT_TRUE(begun.ok()) << begun.status();
      ASSERT_EQ(StoreHarness::Append(*begun, 0, segment), absl::OkStatus());
      harness_.clock.Advance(absl::Milliseconds(100));
      harness_.store()->Tick();
    }
  }
  const int64_t grown_bytes = ReadProcessMemory(getpid()).anonymous_bytes - before_bytes;
  EXPECT_LT(grown_bytes, kUploads * static_cast<int64_t>(kInlineBytesMax) / 2);
}

// The wall clock alone is no reason to destroy anything.
TEST_F(UploadTest, SurvivesAWallThatIsAheadForAWhile) {
  const CallId id = harness_.NewId();
  const std::string data = MakeData(100);
  const auto begun = harness_.BeginUpload(InputUpload(id, 1));
  ASSERT_EQ(StoreHarness::Append(*begun, 0, data), absl::OkStatus());
  harness_.clock.JumpWall(absl::Hours(2));
  harness_.clock.Advance(absl::Seconds(2));
  harness_.store()->Tick();
  EXPECT_EQ(ReasonOf(StoreHarness::Finish(*begun, data).status()), Reason::kCallExpired);
  EXPECT_TRUE(Query(1).ok());
  harness_.clock.JumpWall(-absl::Hours(2));
  EXPECT_TRUE(StoreHarness::Finish(*begun, data).ok());
}

TEST_F(UploadTest, IsSweptAtItsOwnDeadlineHoweverBusy) {
  const CallId id = harness_.NewId();
  NewUpload upload = InputUpload(id, 1);
  upload.ttl_ms = 60'000;
  const auto begun = harness_.BeginUpload(upload);
  harness_.clock.Advance(absl::Seconds(59));
  ASSERT_EQ(StoreHarness::Append(*begun, 0, MakeData(kSegmentBytes)), absl::OkStatus());
  harness_.clock.Advance(absl::Seconds(2));
  harness_.store()->Tick();
  EXPECT_EQ(ReasonOf(Query(1).status()), Reason::kUploadUnknown);
}

TEST_F(UploadTest, EndsWithItsCallAndRevivesItNeverAgain) {
  const CallId id = harness_.NewId();
  const std::string data = MakeData(2 << 20);
  const auto begun = harness_.BeginUpload(InputUpload(id, 1));
  ASSERT_EQ(StoreHarness::Send(*begun, data), absl::OkStatus());
  // Meanwhile the same call lives and dies without this upload.
  ASSERT_EQ(harness_.PutInput(id, "in").status, absl::OkStatus());
  ASSERT_EQ(harness_.PutOutput(id, "out").status, absl::OkStatus());
  const ClaimResponse claim = harness_.Claim(id, 7);
  ASSERT_EQ(harness_.Ack(id, 7, claim.outputs.at(0).fence).status, absl::OkStatus());
  harness_.clock.Advance(absl::Minutes(16));  // the tombstone is forgotten
  EXPECT_EQ(ReasonOf(StoreHarness::Finish(*begun, data).status()), Reason::kUploadUnknown);
  EXPECT_EQ(harness_.Phase(id), CallPhase::kUnknown);
  EXPECT_EQ(StoredUploads(), 0u);
}

TEST_F(UploadTest, MayTakeLongerThanTheIdWindow) {
  const CallId id = harness_.NewId();
  const std::string data = MakeData(2 << 20);
  const auto begun = harness_.BeginUpload(InputUpload(id, 1));
  harness_.clock.Advance(absl::Minutes(8));
  ASSERT_EQ(StoreHarness::Send(*begun, data), absl::OkStatus());
  EXPECT_TRUE(StoreHarness::Finish(*begun, data).ok());
  EXPECT_EQ(*DownloadInput(id), data);
}

TEST_F(UploadTest, ReservesTheBytesItHasAndNoMore) {
  harness_.Close();
  harness_.config.limits.live_bytes_max = 3 << 20;
  harness_.Open();
  NewUpload announced = InputUpload(harness_.NewId(), 1);
  announced.size_bytes = (3 << 20) + 1;
  EXPECT_EQ(ReasonOf(harness_.BeginUpload(announced).status()), Reason::kQuotaBytes);
  const CallId id = harness_.NewId();
  const std::string data = MakeData(2 << 20);
  const auto begun = harness_.BeginUpload(InputUpload(id, 2));
  ASSERT_EQ(StoreHarness::Send(*begun, data), absl::OkStatus());
  // The other half of a mebibyte too many.
  EXPECT_EQ(ReasonOf(harness_.PutInput(harness_.NewId(), MakeData((1 << 20) + 1)).status),
            Reason::kQuotaBytes);
  EXPECT_EQ(harness_.PutInput(harness_.NewId(), MakeData(1 << 20)).status, absl::OkStatus());
  EXPECT_TRUE(StoreHarness::Finish(*begun, data).ok()) << "its own bytes count once";
  EXPECT_EQ(harness_.tenant()->ledger.taken_bytes(), harness_.tenant()->ledger.live_bytes());
  EXPECT_EQ(harness_.tenant()->ledger.uploads(), 0);
  EXPECT_EQ(harness_.tenant()->ledger.live_bytes(), 3 << 20);
}

TEST_F(UploadTest, IsLimitedInSizeAndNumber) {
  harness_.Close();
  harness_.config.limits.payload_bytes_max = 1 << 20;
  harness_.config.limits.uploads_max = 1;
  harness_.Open();
  const auto begun = harness_.BeginUpload(InputUpload(harness_.NewId(), 1));
  ASSERT_EQ(StoreHarness::Append(*begun, 0, MakeData(kSegmentBytes)), absl::OkStatus());
  EXPECT_EQ(ReasonOf(StoreHarness::Append(*begun, kSegmentBytes, "x")), Reason::kPayloadTooLarge);
  EXPECT_EQ(ReasonOf(harness_.BeginUpload(InputUpload(harness_.NewId(), 2)).status()),
            Reason::kQuotaUploads);
}

TEST_F(UploadTest, OfAnotherTenantDoesNotExist) {
  const CallId id = harness_.NewId();
  const auto begun = harness_.BeginUpload(InputUpload(id, 1));
  ASSERT_TRUE(begun.ok());
  EXPECT_EQ(ReasonOf(Query(1, harness_.tenant("other")).status()), Reason::kUploadUnknown);
  EXPECT_TRUE(harness_.BeginUpload(InputUpload(id, 1), harness_.tenant("other")).ok())
      << "another upload";
}

TEST_F(UploadTest, OnlyTheSameCallGoesOnWithIt) {
  ASSERT_TRUE(harness_.BeginUpload(InputUpload(harness_.NewId(), 1)).ok());
  EXPECT_EQ(ReasonOf(harness_.BeginUpload(InputUpload(harness_.NewId(), 1)).status()),
            Reason::kFieldInvalid);
}

class DownloadTest : public UploadTest {
 protected:
  // A call with an output of 3 MiB and a bit, claimed with token 7.
  DownloadTest() : id_(harness_.NewId()), data_(MakeData((3 << 20) + 17)) {
    EXPECT_TRUE(harness_.PutInput(id_, "in").status.ok());
    EXPECT_EQ(harness_.Upload(OutputUpload(id_, 1), data_).status(), absl::OkStatus());
    ClaimRequest request = StoreHarness::MakeClaim({id_}, 7);
    request.bytes_max = 1000;
    const ClaimResponse claim = harness_.Claim(request);
    fence_ = claim.outputs.at(0).fence;
  }
  DownloadRequest Request(uint64_t offset = 0) {
    return {.call_id = id_,
            .kind = PayloadKind::kOutput,
            .offset_bytes = offset,
            .token = MakeToken(7),
            .fence = fence_};
  }

  const CallId id_;
  const std::string data_;
  uint64_t fence_ = 0;
};

TEST_F(DownloadTest, BeginsAtAnyOffset) {
  for (const uint64_t offset :
       {uint64_t{0}, uint64_t{1}, uint64_t{1 << 20}, uint64_t{(2 << 20) + 3},
        uint64_t{(3 << 20) + 16}, uint64_t{(3 << 20) + 17}}) {
    SCOPED_TRACE(offset);
    EXPECT_EQ(*DownloadAll(Request(offset)), data_.substr(offset));
  }
  EXPECT_EQ(ReasonOf(DownloadAll(Request((3 << 20) + 18)).status()), Reason::kOffsetMismatch);
}

TEST_F(DownloadTest, NeedsTheClaim) {
  DownloadRequest request = Request();
  request.fence += 1;
  EXPECT_EQ(ReasonOf(DownloadAll(request).status()), Reason::kClaimLost);
  request = Request();
  request.token = MakeToken(8);
  EXPECT_EQ(ReasonOf(DownloadAll(request).status()), Reason::kClaimLost);
}

TEST_F(DownloadTest, RenewsTheClaimWhileItMakesProgressAndNoLonger) {
  auto download = BeginDownload(Request());
  ASSERT_TRUE(download.ok());
  for (int i = 0; i < 3; ++i) {
    harness_.clock.Advance(absl::Seconds(25));  // of a lease of 30
    ASSERT_TRUE(Read(download->get()).ok());
    harness_.store()->Tick();
    EXPECT_EQ(harness_.Phase(id_), CallPhase::kClaimed);
  }
  harness_.clock.Advance(absl::Seconds(31));
  harness_.store()->Tick();
  EXPECT_EQ(harness_.Phase(id_), CallPhase::kReady);
  EXPECT_EQ(ReasonOf(Read(download->get()).status()), Reason::kClaimLost);
}

TEST_F(DownloadTest, EndsWhenThePayloadDoes) {
  auto download = BeginDownload(Request());
  ASSERT_TRUE(Read(download->get()).ok());
  ASSERT_EQ(harness_.Delete(id_).status, absl::OkStatus());
  EXPECT_EQ(ReasonOf(Read(download->get()).status()), Reason::kCallDeleted);
}

TEST_F(DownloadTest, EndsAtTheDeadlineToTheSecond) {
  auto download = BeginDownload(Request());
  harness_.clock.Advance(absl::Minutes(60) - absl::Seconds(1));
  // The lease has lapsed long since; a claim that goes on is what it takes to come so far.
  EXPECT_EQ(ReasonOf(Read(download->get()).status()), Reason::kClaimLost);
  EXPECT_EQ(ReasonOf(DownloadInput(id_).status()), Reason::kUnspecified) << "the input is there";
  harness_.clock.Advance(absl::Seconds(1));
  EXPECT_EQ(ReasonOf(DownloadInput(id_).status()), Reason::kCallExpired);
}

TEST_F(DownloadTest, IsWhatAnAckIsCheckedAgainst) {
  ASSERT_EQ(*DownloadAll(Request()), data_);
  Awaited<std::vector<EndResult>> acked;
  harness_.store()->AckOutputs(
      harness_.tenant(), {{.call_id = id_, .token = MakeToken(7), .fence = fence_, .crc32c = 1}},
      acked.callback());
  EXPECT_EQ(ReasonOf(acked.Get().at(0).status), Reason::kChecksumMismatch);
  Awaited<std::vector<EndResult>> again;
  harness_.store()->AckOutputs(
      harness_.tenant(),
      {{.call_id = id_, .token = MakeToken(7), .fence = fence_, .crc32c = Crc32c(AsBytes(data_))}},
      again.callback());
  EXPECT_EQ(again.Get().at(0).status, absl::OkStatus());
  EXPECT_EQ(ReasonOf(DownloadAll(Request()).status()), Reason::kOutputConsumed);
}

}  // namespace
}  // namespace mayfly
