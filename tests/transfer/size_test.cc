// Payloads of every size through the whole life of a call: the data read equals the data put.

#include <cstdio>
#include <optional>
#include <string>

#include "absl/time/clock.h"
#include <gtest/gtest.h>

#include "support/payload_stream.h"
#include "support/sizes.h"
#include "support/test_server.h"
#include "transfer/transfer_client.h"

namespace mayfly {
namespace {

constexpr uint64_t kKiB = uint64_t{1} << 10;
constexpr uint64_t kWorthTiming = 16 * kMiB;

// Tells how fast a step was.
class Stopwatch {
 public:
  Stopwatch(const char* step, uint64_t bytes) : step_(step), bytes_(bytes) {}
  ~Stopwatch() {
    if (bytes_ < kWorthTiming) return;
    const double seconds = absl::ToDoubleSeconds(absl::Now() - begun_);
    std::printf("%-16s %5llu MiB  %6.1f MB/s\n", step_,
                static_cast<unsigned long long>(bytes_ / kMiB),
                static_cast<double>(bytes_) / 1e6 / seconds);
  }

 private:
  const char* const step_;
  const uint64_t bytes_;
  const absl::Time begun_ = absl::Now();
};

class SizeTest : public testing::Test {
 protected:
  SizeTest() {
    server_.Start();
    client_.emplace(ConnectClient(server_, "client"));
    worker_.emplace(ConnectClient(server_, "worker"));
  }

  void ExpectEqualByStream(uint64_t size);
  void ExpectEqualInMemory(uint64_t size);
  void ExpectConsumed(const std::string& call_id) {
    HashingSink sink;
    const auto again = client_->RetrieveInto(call_id, &sink);
    EXPECT_EQ(ReasonOf(again.status()), Reason::kOutputConsumed) << again.status();
    EXPECT_EQ(sink.size(), 0u);
  }

  TestServer server_;
  std::optional<client::Client> client_;
  std::optional<client::Client> worker_;
};

void SizeTest::ExpectEqualByStream(uint64_t size) {
  const std::string call_id = client::MintCallId();
  constexpr uint64_t kInputSeed = 1;
  constexpr uint64_t kOutputSeed = 2;
  {
    const Stopwatch stopwatch("upload input", size);
    PatternSource source(kInputSeed, size);
    const auto put = client_->UploadInput({.call_id = call_id}, &source);
    ASSERT_TRUE(put.ok()) << put.status();
  }
  HashingSink input;
  {
    const Stopwatch stopwatch("download input", size);
    const auto got = worker_->DownloadInput(call_id, &input);
    ASSERT_TRUE(got.ok()) << got.status();
  }
  EXPECT_EQ(input.digest(), PatternDigest(kInputSeed, size));
  {
    const Stopwatch stopwatch("upload output", size);
    PatternSource source(kOutputSeed, size);
    const auto put = worker_->UploadOutput({.call_id = call_id}, &source);
    ASSERT_TRUE(put.ok()) << put.status();
  }
  HashingSink output;
  {
    const Stopwatch stopwatch("retrieve output", size);
    const auto retrieved = client_->RetrieveInto(call_id, &output);
    ASSERT_TRUE(retrieved.ok()) << retrieved.status();
  }
  EXPECT_EQ(output.size(), size);
  EXPECT_EQ(output.digest(), PatternDigest(kOutputSeed, size));
  ExpectConsumed(call_id);
}

void SizeTest::ExpectEqualInMemory(uint64_t size) {
  const std::string call_id = client::MintCallId();
  const std::string input = Pattern(3, size);
  const std::string output = Pattern(4, size);
  const auto put_input = client_->PutInput({.call_id = call_id, .payload = {.data = input}});
  ASSERT_TRUE(put_input.ok()) << put_input.status();
  const auto got = worker_->GetInput(call_id);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_TRUE(got->payload.data == input);
  const auto put_output = worker_->PutOutput({.call_id = call_id, .payload = {.data = output}});
  ASSERT_TRUE(put_output.ok()) << put_output.status();
  int consumed_count = 0;
  const auto retrieved = client_->Retrieve(call_id, [&](const client::ClaimedOutput& claimed) {
    ++consumed_count;
    EXPECT_TRUE(claimed.payload.data == output);
    return absl::OkStatus();
  });
  EXPECT_TRUE(retrieved.ok()) << retrieved.status();
  EXPECT_EQ(consumed_count, 1);
  ExpectConsumed(call_id);
}

TEST_F(SizeTest, EverySizeComesOutAsItWentIn) {
  for (const uint64_t size : {uint64_t{0}, uint64_t{1}, 16 * kKiB - 1, 16 * kKiB, 16 * kKiB + 1,
                              kMiB - 1, kMiB, kMiB + 1, 3 * kMiB}) {
    SCOPED_TRACE(size);
    ExpectEqualByStream(size);
    ExpectEqualInMemory(size);
  }
}

TEST_F(SizeTest, SixtyFourMiBComeOutAsTheyWentIn) { ExpectEqualByStream(64 * kMiB); }

// Longer than the others together.
TEST_F(SizeTest, SlowOneGiBComesOutAsItWentIn) { ExpectEqualByStream(1024 * kMiB); }

}  // namespace
}  // namespace mayfly
