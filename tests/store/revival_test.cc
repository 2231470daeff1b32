// No order of operations, restarts and settings revives an ended call.
#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "base/error.h"
#include "store/gate.h"
#include "store/id_window.h"
#include "store/store_harness.h"
#include "support/stored_data.h"

namespace mayfly {
namespace {

NewUpload UploadTo(const CallId& call_id, uint8_t number) {
  NewUpload upload;
  upload.id[0] = number;
  upload.call_id = call_id;
  upload.ttl_ms = 3'600'000;
  return upload;
}

// A call whose output is claimed, and that an ack may end at any moment; uploads of its input come in
// between.
class RevivalTest : public ::testing::Test {
 protected:
  // One worker, so that a test can tell the order of the steps of uploads.
  void Open() {
    harness_.config.server.worker_threads = 1;
    harness_.Open();
    id_ = MakeClaimed();
  }
  CallId MakeClaimed() {
    const CallId id = harness_.NewId();
    EXPECT_EQ(harness_.PutInput(id, "in").status, absl::OkStatus());
    EXPECT_EQ(harness_.PutOutput(id, "out").status, absl::OkStatus());
    fence_ = harness_.Claim(id, 7).outputs.at(0).fence;
    return id;
  }
  absl::Status Ack() { return harness_.Ack(id_, 7, fence_).status; }
  void AckLater(Awaited<std::vector<EndResult>>* answer) {
    harness_.store()->AckOutputs(harness_.tenant(),
                                 {ClaimRef{.call_id = id_, .token = MakeToken(7), .fence = fence_}},
                                 answer->callback());
  }
  void ExpectEnded() {
    // Past every tombstone.
    harness_.clock.Advance(absl::Minutes(16));
    EXPECT_EQ(harness_.Phase(id_), CallPhase::kUnknown);
    EXPECT_EQ(ReasonOf(harness_.PutInput(id_, "in").status), Reason::kIdOutsideWindow);
    harness_.Close();
    EXPECT_EQ(ReadStoredData(harness_.data_dir()).upload_rows, 0u);
    harness_.Open();
    EXPECT_EQ(harness_.Phase(id_), CallPhase::kUnknown);
  }

  StoreHarness harness_;
  CallId id_;
  uint64_t fence_ = 0;
};

TEST_F(RevivalTest, AnEndBetweenTheDecisionAboutAnUploadAndItsRow) {
  Gate before_header;
  Gate after_decision;
  int segments = 0;
  const auto first = before_header.hook();
  const auto second = after_decision.hook();
  harness_.hooks.write_segment = [&] { return ++segments == 1 ? first() : second(); };
  Open();
  // What the worker does, in this order: the first segment, which is held up; the header; the second
  // segment, which is held up too; what comes of the decision about the header.
  const auto one = harness_.BeginUpload(UploadTo(harness_.NewId(), 1));
  const auto two = harness_.BeginUpload(UploadTo(harness_.NewId(), 2));
  const std::string segment(kSegmentBytes, 's');
  Awaited<absl::Status> appended[2];
  one->stream->Append({.offset_bytes = 0, .data = segment}, appended[0].callback());
  before_header.WaitUntilReached();
  Awaited<absl::StatusOr<BegunUpload>> begun;
  harness_.store()->BeginUpload(harness_.tenant(), UploadTo(id_, 3), begun.callback());
  two->stream->Append({.offset_bytes = 0, .data = segment}, appended[1].callback());
  before_header.Open();
  after_decision.WaitUntilReached();

  EXPECT_EQ(Ack(), absl::OkStatus());
  after_decision.Open();
  const auto upload = begun.Get();
  ASSERT_TRUE(upload.ok()) << upload.status();
  ASSERT_NE(upload->stream, nullptr);
  EXPECT_EQ(ReasonOf(StoreHarness::Append(*upload, 0, "in")), Reason::kUploadUnknown);
  EXPECT_EQ(ReasonOf(StoreHarness::Finish(*upload, "in").status()), Reason::kUploadUnknown);
  EXPECT_EQ(appended[0].Get(), absl::OkStatus());
  EXPECT_EQ(appended[1].Get(), absl::OkStatus());
  // The others are another call's, and end with their time.
  harness_.clock.Advance(absl::Minutes(11));
  harness_.Settle();
  ExpectEnded();
}

TEST_F(RevivalTest, AnEndWhileTheRowOfAnUploadIsWritten) {
  Gate row;
  harness_.hooks.store_upload = row.hook();
  Open();
  Awaited<absl::StatusOr<BegunUpload>> begun;
  harness_.store()->BeginUpload(harness_.tenant(), UploadTo(id_, 1), begun.callback());
  row.WaitUntilReached();
  Awaited<std::vector<EndResult>> acked;
  AckLater(&acked);
  row.Open();
  EXPECT_EQ(acked.Get().at(0).status, absl::OkStatus());
  const auto upload = begun.Get();
  ASSERT_TRUE(upload.ok());
  harness_.clock.Advance(absl::Minutes(16));
  EXPECT_FALSE(StoreHarness::Append(*upload, 0, "in").ok());
  EXPECT_FALSE(StoreHarness::Finish(*upload, "in").ok());
  ExpectEnded();
}

TEST_F(RevivalTest, AnEndJustBeforeAFinishAndALongPauseBetweenThem) {
  Gate ack;
  std::atomic<bool> holds_up{false};
  const auto hold_up = ack.hook();
  harness_.hooks.commit = [&] { return holds_up ? hold_up() : absl::OkStatus(); };
  Open();
  const auto upload = harness_.BeginUpload(UploadTo(id_, 1));
  ASSERT_EQ(StoreHarness::Append(*upload, 0, "in"), absl::OkStatus());
  holds_up = true;
  Awaited<std::vector<EndResult>> acked;
  AckLater(&acked);
  ack.WaitUntilReached();
  Awaited<absl::StatusOr<int64_t>> finished;
  upload->stream->Finish({.size_bytes = 2, .crc32c = MakePayload("in").metadata.crc32c},
                         finished.callback());
  // Until the put is queued behind the ack.
  while (harness_.store()->health().queued_operations == 0) absl::SleepFor(absl::Milliseconds(1));
  harness_.clock.Advance(absl::Minutes(16));
  ack.Open();
  EXPECT_EQ(acked.Get().at(0).status, absl::OkStatus());
  EXPECT_EQ(ReasonOf(finished.Get().status()), Reason::kUploadUnknown);
  holds_up = false;
  ExpectEnded();
}

// The state on the disk when the ack is answered, however far the workers have got.
TEST_F(RevivalTest, TheTombstoneAndTheRowsOfUploadsAreOneBatch) {
  Gate worker;
  harness_.hooks.write_segment = worker.hook();
  Open();
  const auto upload = harness_.BeginUpload(UploadTo(id_, 1));
  const auto other = harness_.BeginUpload(UploadTo(harness_.NewId(), 2));
  Awaited<absl::Status> appended;
  other->stream->Append({.offset_bytes = 0, .data = std::string(kSegmentBytes, 's')},
                        appended.callback());
  worker.WaitUntilReached();
  EXPECT_EQ(Ack(), absl::OkStatus());
  // As a kill leaves it.
  TemporaryDirectory copy;
  std::filesystem::copy(harness_.data_dir(), copy / "data",
                        std::filesystem::copy_options::recursive);
  EXPECT_EQ(ReadStoredData(copy / "data").upload_rows, 1u) << "the other call's";
  worker.Open();
  EXPECT_EQ(appended.Get(), absl::OkStatus());
  harness_.clock.Advance(absl::Minutes(11));
  harness_.Settle();
  ExpectEnded();
}

// A second put of what was acknowledged, at every time that matters, under settings that were widened
// or narrowed and widened again by a restart.
TEST_F(RevivalTest, SettingsThatAreWidened) {
  const auto configure = [this](absl::Duration id_window, absl::Duration tombstone_ttl) {
    harness_.config.limits.id_window = id_window;
    harness_.config.retention.tombstone_ttl = tombstone_ttl;
  };
  for (const absl::Duration pause :
       {absl::ZeroDuration(), absl::Seconds(79), absl::Seconds(84), absl::Minutes(4)}) {
    SCOPED_TRACE(absl::FormatDuration(pause));
    harness_.Close();
    configure(absl::Seconds(10), absl::Seconds(80));
    Open();
    EXPECT_EQ(Ack(), absl::OkStatus());
    harness_.clock.Advance(pause);
    configure(absl::Hours(1), absl::Minutes(121));
    harness_.Reopen();
    for (int i = 0; i < 125; ++i) {
      const PutResult put = harness_.PutInput(id_, "in");
      ASSERT_EQ(put.deadline_ms, 0) << put.status << " " << i << " minutes after";
      ASSERT_NE(harness_.Phase(id_), CallPhase::kPending);
      harness_.clock.Advance(absl::Minutes(1));
    }
  }
}

class IdWindowTest : public ::testing::Test {
 protected:
  // Restarts with another window.
  void Widen(absl::Duration id_window) {
    harness_.Close();
    harness_.config.limits.id_window = id_window;
    harness_.config.retention.tombstone_ttl = 2 * id_window + absl::Minutes(1);
    harness_.Open();
  }
  // Whether a call with an id of this age is accepted.
  bool Takes(absl::Duration age) {
    const CallId id = harness_.NewId(harness_.clock.Read().wall - age);
    return harness_.PutInput(id, "in").status.ok();
  }

  StoreHarness harness_;
};

TEST_F(IdWindowTest, LetsNothingBackInThatHadLeftANarrowerOne) {
  Widen(absl::Seconds(10));
  EXPECT_TRUE(Takes(absl::Seconds(10)));
  EXPECT_FALSE(Takes(absl::Seconds(11)));
  Widen(absl::Minutes(5));
  EXPECT_TRUE(Takes(absl::Seconds(10)));
  EXPECT_FALSE(Takes(absl::Seconds(11)));
  EXPECT_TRUE(Takes(-absl::Minutes(5)));
  Widen(absl::Hours(1));
  EXPECT_FALSE(Takes(absl::Seconds(11))) << "the floor that was drawn first counts";
  harness_.clock.Advance(absl::Minutes(30));
  EXPECT_TRUE(Takes(absl::Minutes(30) + absl::Seconds(10)));
  EXPECT_FALSE(Takes(absl::Minutes(30) + absl::Seconds(11)));
  harness_.Reopen();
  EXPECT_FALSE(Takes(absl::Minutes(30) + absl::Seconds(11)));
  harness_.clock.Advance(absl::Minutes(30));
  EXPECT_TRUE(Takes(absl::Hours(1)));
  EXPECT_FALSE(Takes(absl::Hours(1) + absl::Milliseconds(1)));
}

TEST_F(IdWindowTest, AFloorDrawnByAClockThatWasAheadRefusesNoNewIds) {
  Widen(absl::Seconds(10));
  harness_.Close();
  harness_.clock.Reboot("boot-2");
  harness_.clock.SetSynchronised(false);
  harness_.clock.JumpWall(absl::Hours(1000));
  Widen(absl::Minutes(5));
  harness_.clock.SetSynchronised(true);
  harness_.clock.JumpWall(-absl::Hours(1000));
  for (int i = 0; i < 20; ++i) {
    harness_.clock.Advance(absl::Minutes(1));
    harness_.store()->Tick();
  }
  EXPECT_TRUE(Takes(absl::ZeroDuration()));
  EXPECT_TRUE(Takes(absl::Seconds(10)));
  EXPECT_FALSE(Takes(absl::Minutes(5)));
}

}  // namespace
}  // namespace mayfly
