// The real server while its clocks jump.
#include "absl/time/clock.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_replace.h"
#include <gtest/gtest.h>

#include "base/call_id.h"
#include "base/crc32c.h"
#include "crypto/random.h"
#include "e2e/clocks.h"
#include "e2e/test_client.h"

namespace mayfly {
namespace {

constexpr int64_t kMinuteS = 60;
constexpr int64_t kHourS = 3600;
constexpr int64_t kJumpsS[] = {1,          3,          15 * kMinuteS, 25 * kMinuteS,
                               1 * kHourS, 6 * kHourS, 25 * kHourS};

class ClockE2e : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "the sanitizer's library would have to be loaded first";
#endif
  }
  void Start(const std::string& settings) {
    server_ = clocks_.NewServer(settings);
    Restart();
  }
  void Restart() {
    clocks_.Start(server_.get());
    client_ = std::make_unique<TestClient>(server_->Channel("client"));
    worker_ = std::make_unique<TestClient>(server_->Channel("worker"));
  }
  // Minted by a client whose clock is the server's wall clock.
  std::string NewId() const {
    std::array<uint8_t, 10> random;
    FillRandom(absl::MakeSpan(random));
    return CallId::Mint(absl::Now() + absl::Seconds(clocks_.wall_s()), random).ToString();
  }
  std::string PutInput(const std::string& call_id, int64_t ttl_s) {
    v1::PutInputsRequest request;
    v1::InputItem* const item = request.add_items();
    item->set_call_id(call_id);
    item->mutable_payload()->set_data("in");
    item->mutable_ttl()->set_seconds(ttl_s);
    v1::PutInputsResponse response;
    const grpc::Status status = client_->Call(&v1::FunctionIo::Stub::PutInputs, request, &response);
    return status.ok() ? Summary(response.results(0).status()) : Summary(status);
  }
  std::string GetInput(const std::string& call_id) {
    std::string data;
    return worker_->GetInput(call_id, &data);
  }
  // A call with an output, under a claim.
  uint64_t MakeClaimed(const std::string& call_id, const std::string& token) {
    EXPECT_EQ(client_->PutInput(call_id, "in"), "OK");
    EXPECT_EQ(worker_->PutOutput(call_id, "out"), "OK");
    v1::ClaimedOutput output;
    std::string ended;
    EXPECT_EQ(client_->Claim(call_id, token, &output, &ended), "OK");
    return output.fence();
  }
  // How long a poll waits that says it waits for a second.
  absl::Duration PollForASecond(const std::string& call_id) {
    const absl::Time begun = absl::Now();
    v1::ClaimedOutput output;
    std::string ended;
    EXPECT_EQ(client_->Claim(call_id, NewClaimToken(), &output, &ended, /*wait_s=*/1), "OK");
    EXPECT_EQ(ended, "");
    return absl::Now() - begun;
  }
  // Until puts of ids of now are taken: the clocks agree.
  void WaitUntilTaken() {
    const absl::Time end = absl::Now() + absl::Seconds(60);
    while (PutInput(NewId(), 60) != "OK") {
      ASSERT_LT(absl::Now(), end);
      absl::SleepFor(absl::Milliseconds(20));
    }
  }

  Clocks clocks_;
  std::unique_ptr<TestServer> server_;
  std::unique_ptr<TestClient> client_;
  std::unique_ptr<TestClient> worker_;
};

// As SIGSTOP, or a suspended machine: both clocks go on.
TEST_F(ClockE2e, APauseOfAnyLengthStopsNothing) {
  Start("");
  for (const int64_t pause_s : kJumpsS) {
    SCOPED_TRACE(pause_s);
    const std::string short_id = NewId();
    const std::string long_id = NewId();
    ASSERT_EQ(PutInput(short_id, 1), "OK");
    ASSERT_EQ(PutInput(long_id, 24 * kHourS), "OK");
    clocks_.Suspend(pause_s);
    EXPECT_EQ(GetInput(short_id), "NOT_FOUND CALL_EXPIRED");
    EXPECT_EQ(GetInput(long_id), pause_s < 24 * kHourS ? "OK" : "NOT_FOUND CALL_EXPIRED");
    const std::string waited_for = NewId();
    ASSERT_EQ(PutInput(waited_for, 24 * kHourS), "OK");
    EXPECT_GE(PollForASecond(waited_for), absl::Milliseconds(950));
  }
  EXPECT_EQ(server_->Stop(), 0) << server_->Log();
}

TEST_F(ClockE2e, AWallThatIsSetIsNoticedAtOnce) {
  Start("[retention]\nclock_jump_grace = \"1h\"\n");
  const std::string call_id = NewId();
  ASSERT_EQ(PutInput(call_id, kHourS), "OK");
  for (int round = 0; round < 20; ++round) {
    clocks_.JumpWall(2 * kHourS);
    EXPECT_EQ(GetInput(call_id), "NOT_FOUND CALL_EXPIRED");
    clocks_.JumpWall(-2 * kHourS);
    EXPECT_EQ(GetInput(call_id), "OK");
  }
  EXPECT_EQ(server_->Stop(), 0) << server_->Log();
}

TEST_F(ClockE2e, AWallThatStaysApartIsBelievedAndStopsNothing) {
  Start("[retention]\nclock_jump_grace = \"1s\"\n");
  std::atomic<bool> is_over{false};
  std::atomic<int> lives{0};
  std::thread load([&] {
    TestClient client(server_->Channel("client"));
    TestClient worker(server_->Channel("worker"));
    while (!is_over) {
      const std::string call_id = NewId();
      const std::string token = NewClaimToken();
      v1::ClaimedOutput output;
      std::string ended;
      if (client.PutInput(call_id, "in") != "OK") continue;
      if (worker.PutOutput(call_id, "out") != "OK") continue;
      if (client.Claim(call_id, token, &output, &ended) != "OK") continue;
      if (output.fence() != 0) lives += client.Ack(call_id, token, output.fence()) == "OK";
    }
  });
  for (const int64_t jump_s : {-25 * kMinuteS, 25 * kMinuteS, -kHourS, 6 * kHourS, -25 * kHourS}) {
    SCOPED_TRACE(jump_s);
    clocks_.JumpWall(jump_s);
    WaitUntilTaken();
    const std::string call_id = NewId();
    EXPECT_EQ(PutInput(call_id, 600), "OK");
    EXPECT_GE(PollForASecond(call_id), absl::Milliseconds(950));
  }
  const int lives_before = lives;
  const absl::Time end = absl::Now() + absl::Seconds(60);
  while (lives < lives_before + 10 && absl::Now() < end) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_GE(lives, lives_before + 10);
  is_over = true;
  load.join();
  EXPECT_EQ(server_->Stop(), 0) << server_->Log();
}

// Short enough for a test, and the narrowest there are.
constexpr char kNarrowSettings[] =
    "[limits]\nid_window = \"10s\"\n[retention]\ntombstone_ttl = \"80s\"\n";

TEST_F(ClockE2e, AnUploadThatBeginsJustBeforeAnAckRevivesNothing) {
  Start(kNarrowSettings);
  constexpr int kRounds = 60;
  struct Upload {
    std::string call_id;
    grpc::ClientContext context;
    v1::UploadResponse response;
    std::unique_ptr<grpc::ClientWriter<v1::UploadRequest>> stream;
  };
  std::vector<std::unique_ptr<Upload>> uploads;
  for (int round = 0; round < kRounds; ++round) {
    uploads.push_back(std::make_unique<Upload>());
    Upload* const upload = uploads.back().get();
    upload->call_id = NewId();
    const std::string token = NewClaimToken();
    const uint64_t fence = MakeClaimed(upload->call_id, token);
    upload->stream = client_->stub()->Upload(&upload->context, &upload->response);
    v1::UploadRequest header;
    header.mutable_header()->set_upload_id(NewClaimToken());
    header.mutable_header()->mutable_input()->set_call_id(upload->call_id);
    ASSERT_TRUE(upload->stream->Write(header));
    // In the 0 to 4 ms in which the server takes the header up.
    absl::SleepFor(absl::Microseconds(70 * round));
    ASSERT_EQ(client_->Ack(upload->call_id, token, fence), "OK");
  }
  // Until the tombstones are gone and the ids outside the window.
  clocks_.Suspend(90);
  for (const auto& upload : uploads) {
    v1::UploadRequest segment;
    segment.mutable_segment()->set_data("again");
    upload->stream->Write(segment);
    v1::UploadRequest finish;
    finish.mutable_finish()->set_size_bytes(5);
    finish.mutable_finish()->set_crc32c(Crc32c(AsBytes("again")));
    upload->stream->Write(finish);
    upload->stream->WritesDone();
    const grpc::Status status = upload->stream->Finish();
    EXPECT_FALSE(status.ok() && upload->response.has_deadline_time());
    EXPECT_EQ(client_->Describe(upload->call_id).state(), v1::CALL_STATE_UNKNOWN);
  }
  EXPECT_EQ(server_->Stop(), 0) << server_->Log();
}

TEST_F(ClockE2e, AWiderIdWindowRevivesNothingThatEndedUnderANarrowerOne) {
  Start(kNarrowSettings);
  const std::string call_id = NewId();
  const std::string token = NewClaimToken();
  const uint64_t fence = MakeClaimed(call_id, token);
  ASSERT_EQ(client_->Ack(call_id, token, fence), "OK");
  clocks_.Suspend(84);
  EXPECT_EQ(client_->Describe(call_id).state(), v1::CALL_STATE_UNKNOWN);
  ASSERT_EQ(server_->Stop(), 0);
  WriteWholeFile(server_->config_path(),
                 absl::StrReplaceAll(ReadWholeFile(server_->config_path()),
                                     {{"\"10s\"", "\"5m\""}, {"\"80s\"", "\"15m\""}}));
  Restart();
  client_->PutInput(call_id, "in");
  EXPECT_NE(client_->Describe(call_id).state(), v1::CALL_STATE_PENDING);
  EXPECT_NE(worker_->PutOutput(call_id, "out"), "NOT_FOUND CALL_UNKNOWN");
  EXPECT_EQ(client_->Describe(call_id).state(), v1::CALL_STATE_CONSUMED) << "remembered again";
  EXPECT_EQ(server_->Stop(), 0) << server_->Log();
}

}  // namespace
}  // namespace mayfly
