// Uploads that are broken off, raced, or left.

#include <array>
#include <memory>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include <gtest/gtest.h>

#include "support/payload_stream.h"
#include "support/stored_data.h"
#include "support/tcp_proxy.h"
#include "support/test_server.h"
#include "transfer/raw_transfer.h"
#include "transfer/transfer_client.h"

namespace mayfly {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(20);
constexpr absl::Duration kTimeout = absl::Seconds(60);

class UploadFaultTest : public testing::Test {
 protected:
  explicit UploadFaultTest(const std::string& settings = "") : server_(settings) { Start(); }

  void Start() {
    server_.Start();
    client_ = std::make_unique<TestClient>(server_.Channel("client"));
    worker_ = std::make_unique<TestClient>(server_.Channel("worker"));
  }
  StoredData StopAndLook() {
    EXPECT_EQ(server_.Stop(), 0);
    return ReadStoredData(server_.directory() / "data");
  }
  // How much of it is kept, once that is `wanted`.
  uint64_t WaitForCommitted(const std::string& upload_id, uint64_t wanted) {
    v1::QueryUploadResponse response;
    const absl::Time end = absl::Now() + kTimeout;
    do {
      const std::string status = QueryUpload(client_.get(), upload_id, &response);
      EXPECT_EQ(status, "OK");
      if (status != "OK" || response.committed_bytes() == wanted) break;
      absl::SleepFor(kPoll);
    } while (absl::Now() < end);
    return response.committed_bytes();
  }

  TestServer server_;
  std::unique_ptr<TestClient> client_;
  std::unique_ptr<TestClient> worker_;
};

// ---- Crashes

TEST_F(UploadFaultTest, AClientGoesOnWhereAKilledServerHasStopped) {
  constexpr uint64_t kSize = 48 * kSegmentBytes + 4711;
  constexpr uint64_t kKilledAt = 24 * kSegmentBytes;
  // What was read and had not come to the disk: gRPC's buffers and the sockets' at both ends.
  constexpr uint64_t kUnderWayMax = 12 * kSegmentBytes;
  TcpProxy proxy(server_.port());
  const client::Client client = ConnectClient(server_, "client", proxy.port());
  const std::string call_id = client::MintCallId();
  PatternSource source(7, kSize);
  bool was_killed = false;
  source.on_read = [&](uint64_t offset) {
    if (was_killed || offset < kKilledAt) return;
    was_killed = true;
    server_.Kill();
    Start();
    proxy.SetServerPort(server_.port());
  };
  const auto put = client.UploadInput({.call_id = call_id}, &source);
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_TRUE(was_killed);
  EXPECT_LE(source.read_bytes(), kSize + kUnderWayMax) << "what was kept was not sent again";

  HashingSink sink;
  const auto got = ConnectClient(server_, "worker").DownloadInput(call_id, &sink);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(sink.digest(), PatternDigest(7, kSize));
}

TEST_F(UploadFaultTest, EverySegmentThatWasKeptIsThereAfterAKill) {
  constexpr uint64_t kSize = 5 * kSegmentBytes + 1;
  const std::string call_id = NewCallId();
  RawUpload::Header header = {.call_id = call_id};
  RawUpload broken(client_.get(), header, 8, kSize);
  ASSERT_TRUE(broken.SendUpTo(3 * kSegmentBytes));
  ASSERT_EQ(WaitForCommitted(header.upload_id, 3 * kSegmentBytes), 3 * kSegmentBytes);
  server_.Kill();
  Start();
  EXPECT_EQ(WaitForCommitted(header.upload_id, 3 * kSegmentBytes), 3 * kSegmentBytes);
  header.offset_bytes = 3 * kSegmentBytes;
  EXPECT_EQ(RawUpload(client_.get(), header, 8, kSize).Finish(), "OK");
  HashingSink sink;
  const auto got = ConnectClient(server_, "worker").DownloadInput(call_id, &sink);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(sink.digest(), PatternDigest(8, kSize));
}

TEST_F(UploadFaultTest, GoesOnWhereItIsAndNowhereElse) {
  constexpr uint64_t kSize = 4 * kSegmentBytes;
  RawUpload::Header header = {.call_id = NewCallId()};
  RawUpload broken(client_.get(), header, 9, kSize);
  ASSERT_TRUE(broken.SendUpTo(2 * kSegmentBytes));
  ASSERT_EQ(WaitForCommitted(header.upload_id, 2 * kSegmentBytes), 2 * kSegmentBytes);
  broken.Vanish();
  // A gap, and what would come twice.
  for (const uint64_t offset : {3 * kSegmentBytes, kSegmentBytes, uint64_t{0}}) {
    header.offset_bytes = offset;
    EXPECT_EQ(RawUpload(client_.get(), header, 9, kSize).Finish(), "OUT_OF_RANGE OFFSET_MISMATCH");
  }
  header.offset_bytes = 2 * kSegmentBytes;
  EXPECT_EQ(RawUpload(client_.get(), header, 9, kSize).Finish(), "OK");
}

// ---- Races

TEST_F(UploadFaultTest, OfTwoUploadsToOneOutputOneWinsAndNothingOfTheOtherIsLeft) {
  constexpr uint64_t kSize = 3 * kSegmentBytes + 5;
  constexpr int kRounds = 6;
  struct Round {
    std::string call_id;
    uint64_t winner_seed = 0;
  };
  std::array<Round, kRounds> rounds;
  for (int i = 0; i < kRounds; ++i) {
    Round& round = rounds[i];
    round.call_id = NewCallId();
    ASSERT_EQ(client_->PutInput(round.call_id, "input"), "OK");
    // In the last round both bring the same, as two workers may that run the same call.
    const bool is_same = i == kRounds - 1;
    const std::array<uint64_t, 2> seeds = {100 + 2u * i, is_same ? 100 + 2u * i : 101 + 2u * i};
    std::array<std::unique_ptr<RawUpload>, 2> uploads;
    for (int k = 0; k < 2; ++k) {
      const RawUpload::Header header = {.call_id = round.call_id, .is_output = true};
      uploads[k] = std::make_unique<RawUpload>(worker_.get(), header, seeds[k], kSize);
      ASSERT_TRUE(uploads[k]->SendUpTo(kSize));
      ASSERT_EQ(WaitForCommitted(header.upload_id, kSize), kSize);
    }
    std::array<std::string, 2> answers;
    std::thread other([&] { answers[1] = uploads[1]->Finish(); });
    answers[0] = uploads[0]->Finish();
    other.join();
    const int winner = answers[0] == "OK" ? 0 : 1;
    EXPECT_EQ(answers[winner], "OK");
    EXPECT_EQ(answers[1 - winner], is_same ? "OK" : "ALREADY_EXISTS OUTPUT_CONFLICT");
    round.winner_seed = seeds[winner];
  }
  const StoredData left = StopAndLook();
  EXPECT_EQ(left.payload_rows, 2u * kRounds);
  EXPECT_EQ(left.deadline_rows, 2u * kRounds);
  EXPECT_EQ(left.live_slots, 2u * kRounds);
  EXPECT_EQ(left.segment_rows, 4u * kRounds) << "the winners' segments";
  EXPECT_EQ(left.upload_rows, 0u);

  Start();
  const client::Client client = ConnectClient(server_, "client");
  for (const Round& round : rounds) {
    HashingSink sink;
    const auto retrieved = client.RetrieveInto(round.call_id, &sink);
    EXPECT_TRUE(retrieved.ok()) << retrieved.status();
    EXPECT_EQ(sink.digest(), PatternDigest(round.winner_seed, kSize));
  }
  EXPECT_EQ(StopAndLook(), StoredData{});
}

TEST_F(UploadFaultTest, AnUploadOfAnEarlierAttemptLosesToALaterOne) {
  constexpr uint64_t kSize = 2 * kSegmentBytes;
  const std::string call_id = NewCallId();
  ASSERT_EQ(client_->PutInput(call_id, "input"), "OK");
  const auto begin = [&](uint32_t attempt) {
    return std::make_unique<RawUpload>(
        worker_.get(), RawUpload::Header{.call_id = call_id, .is_output = true, .attempt = attempt},
        attempt, kSize);
  };
  const auto early = begin(1);
  const auto late = begin(2);
  ASSERT_TRUE(early->SendUpTo(kSegmentBytes));
  EXPECT_EQ(late->Finish(), "OK");
  EXPECT_EQ(early->Finish(), "ABORTED STALE_ATTEMPT");
  const StoredData left = StopAndLook();
  EXPECT_EQ(left.live_slots, 2u);
  EXPECT_EQ(left.segment_rows, 2u);
  EXPECT_EQ(left.upload_rows, 0u);
}

// ---- Abandoned

class AbandonedUploadTest : public UploadFaultTest {
 protected:
  AbandonedUploadTest() : UploadFaultTest("[limits]\nupload_idle_timeout = \"2s\"\n") {}

  // Waits for the sweep, which must not come before it was announced.
  void ExpectSwept(const std::string& upload_id) {
    v1::QueryUploadResponse progress;
    ASSERT_EQ(QueryUpload(client_.get(), upload_id, &progress), "OK");
    const absl::Time expires = TimeOf(progress.expire_time());
    EXPECT_LT(expires, absl::Now() + absl::Seconds(2) + kClockMargin);
    const absl::Time end = absl::Now() + kTimeout;
    std::string status = "OK";
    while (status == "OK" && absl::Now() < end) {
      absl::SleepFor(kPoll);
      status = QueryUpload(client_.get(), upload_id, &progress);
    }
    EXPECT_EQ(status, "NOT_FOUND UPLOAD_UNKNOWN");
    EXPECT_GT(absl::Now(), expires - kClockMargin);
  }
};

TEST_F(AbandonedUploadTest, IsSweptWithAllThatCameOfIt) {
  RawUpload::Header header = {.call_id = NewCallId()};
  RawUpload upload(client_.get(), header, 10, 8 * kSegmentBytes);
  ASSERT_TRUE(upload.SendUpTo(3 * kSegmentBytes));
  ASSERT_EQ(WaitForCommitted(header.upload_id, 3 * kSegmentBytes), 3 * kSegmentBytes);
  upload.Vanish();
  ExpectSwept(header.upload_id);
  header.offset_bytes = 3 * kSegmentBytes;
  EXPECT_EQ(RawUpload(client_.get(), header, 10, 8 * kSegmentBytes).Finish(),
            "NOT_FOUND UPLOAD_UNKNOWN");
  EXPECT_EQ(client_->Describe(header.call_id).state(), v1::CALL_STATE_UNKNOWN);
  EXPECT_EQ(StopAndLook(), StoredData{});
}

// The server is not told that the sender has gone.
TEST_F(AbandonedUploadTest, IsSweptWhenItsNetworkHasGoneQuiet) {
  TcpProxy proxy(server_.port());
  const RawUpload::Header header = {.call_id = NewCallId()};
  TestClient far(server_.ChannelTo(proxy.port(), "client"));
  RawUpload upload(&far, header, 11, 8 * kSegmentBytes);
  ASSERT_TRUE(upload.SendUpTo(2 * kSegmentBytes));
  ASSERT_EQ(WaitForCommitted(header.upload_id, 2 * kSegmentBytes), 2 * kSegmentBytes);
  proxy.Stall(TcpProxy::kToServer);
  proxy.Stall(TcpProxy::kToClient);
  ExpectSwept(header.upload_id);
  proxy.GoOn();
  EXPECT_EQ(upload.Finish(), "NOT_FOUND UPLOAD_UNKNOWN");
  EXPECT_EQ(StopAndLook(), StoredData{});
}

}  // namespace
}  // namespace mayfly
