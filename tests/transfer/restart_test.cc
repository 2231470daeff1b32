// A server that is killed and started again while an output is downloaded: its claims are gone, and the
// library claims again and goes on where it was.
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include <gtest/gtest.h>

#include "support/payload_stream.h"
#include "support/sizes.h"
#include "support/tcp_proxy.h"
#include "transfer/transfer_client.h"

namespace mayfly {
namespace {

constexpr uint64_t kRestartedBytes = 16 * kMiB + 17;
constexpr uint64_t kRestartAt = 6 * kMiB;

class RestartTest : public testing::Test {
 protected:
  // Restarts the server when it is written to at kRestartAt.
  class Sink : public client::PayloadSink {
   public:
    explicit Sink(RestartTest* test) : test_(test) {}

    absl::Status WriteAt(uint64_t offset, absl::string_view data) override {
      EXPECT_EQ(offset, data_.size()) << "it began anew";
      data_.append(data.data(), data.size());
      if (offset == kRestartAt) test_->Restart();
      return absl::OkStatus();
    }
    absl::Status Finish(uint64_t size) override {
      EXPECT_EQ(size, data_.size());
      return absl::OkStatus();
    }
    const std::string& data() const { return data_; }

   private:
    RestartTest* const test_;
    std::string data_;
  };

  void Restart() {
    server_.Kill();
    server_.Start();
    proxy_.SetServerPort(server_.port());
    ++restarts_;
  }
  std::string NewReadyCall() {
    const auto put = client_.PutInput({.payload = {.data = "input"}});
    EXPECT_TRUE(put.ok()) << put.status();
    const auto output = worker_.PutOutput({.call_id = put->call_id, .payload = {.data = output_}});
    EXPECT_TRUE(output.ok()) << output.status();
    return put->call_id;
  }
  void ExpectConsumed(const std::string& call_id) {
    EXPECT_EQ(restarts_, 1);
    EXPECT_EQ(client_.DescribeCall(call_id)->state, client::CallState::kConsumed);
  }
  // Restarts the server when so many bytes have come, as a sink of the library's own is not told.
  std::thread RestartMidway() {
    return std::thread([this, at = proxy_.PassedBytes(TcpProxy::kToClient) + kRestartAt] {
      while (proxy_.PassedBytes(TcpProxy::kToClient) < at) absl::SleepFor(absl::Milliseconds(1));
      Restart();
    });
  }

  static int StartedPort(TestServer* server) {
    server->Start();
    return server->port();
  }

  TestServer server_;
  TcpProxy proxy_{StartedPort(&server_)};
  const client::Client client_ = ConnectClient(server_, "client", proxy_.port());
  const client::Client worker_ = ConnectClient(server_, "worker", proxy_.port());
  const std::string output_ = Pattern(/*seed=*/3, kRestartedBytes);
  int restarts_ = 0;
};

TEST_F(RestartTest, ARetrievalGoesOn) {
  // Claimed by a poll, and by the stream that all waits share.
  for (const absl::Duration wait : {absl::ZeroDuration(), absl::Minutes(2)}) {
    const std::string call_id = NewReadyCall();
    restarts_ = 0;
    Sink sink(this);
    const auto retrieved = client_.RetrieveInto(call_id, &sink, {.wait = wait});
    ASSERT_TRUE(retrieved.ok()) << retrieved.status();
    EXPECT_TRUE(sink.data() == output_);
    ExpectConsumed(call_id);
  }
}

TEST_F(RestartTest, ADownloadOfAnOutputThatWasClaimedGoesOn) {
  const std::string call_id = NewReadyCall();
  const auto claimed = client_.ClaimOutputs({call_id}, {.claim_larger = true});
  ASSERT_TRUE(claimed.ok()) << claimed.status();
  ASSERT_EQ(claimed->outputs.size(), 1u);
  Sink sink(this);
  const auto output = client_.DownloadOutput(claimed->outputs[0], &sink);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(sink.data() == output_);
  const auto erased = client_.AckOutput(output->claim);
  EXPECT_TRUE(erased.ok()) << erased.status();
  ExpectConsumed(call_id);
}

TEST_F(RestartTest, ADownloadOfAnOutputOfAStreamGoesOn) {
  const std::string call_id = NewReadyCall();
  const client::OutputStream outputs = client_.StreamOutputs({.data_bytes_max = kMiB});
  outputs.Subscribe({call_id});
  const auto event = outputs.Next(absl::Minutes(2));
  ASSERT_TRUE(event.ok()) << event.status();
  ASSERT_TRUE(event->output.ok()) << event->output.status();
  ASSERT_TRUE(event->output->data_omitted);
  Sink sink(this);
  const auto output = client_.DownloadOutput(*event->output, &sink);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(sink.data() == output_);
  outputs.Ack(output->claim);
  const absl::Status acked = outputs.Flush(absl::Minutes(2));
  EXPECT_TRUE(acked.ok()) << acked;
  ExpectConsumed(call_id);
}

TEST_F(RestartTest, OutputsThatTheLibraryDownloadsItselfCome) {
  const std::string awaited = NewReadyCall();
  std::thread restart = RestartMidway();
  const auto output = client_.AwaitOutput(awaited, {.wait = absl::Minutes(2)});
  restart.join();
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(output->payload.data == output_);
  const auto erased = client_.AckOutput(output->claim);
  EXPECT_TRUE(erased.ok()) << erased.status();
  ExpectConsumed(awaited);

  const std::string streamed = NewReadyCall();
  restarts_ = 0;
  const client::OutputStream outputs = client_.StreamOutputs();
  restart = RestartMidway();
  outputs.Subscribe({streamed});
  const auto event = outputs.Next(absl::Minutes(2));
  restart.join();
  ASSERT_TRUE(event.ok()) << event.status();
  ASSERT_TRUE(event->output.ok()) << event->output.status();
  EXPECT_TRUE(event->output->payload.data == output_);
  outputs.Ack(event->output->claim);
  const absl::Status acked = outputs.Flush(absl::Minutes(2));
  EXPECT_TRUE(acked.ok()) << acked;
  ExpectConsumed(streamed);
}

TEST_F(RestartTest, AnInputGoesOn) {
  const auto put = client_.PutInput({.payload = {.data = output_}});
  ASSERT_TRUE(put.ok()) << put.status();
  Sink sink(this);
  const auto input = worker_.DownloadInput(put->call_id, &sink);
  ASSERT_TRUE(input.ok()) << input.status();
  EXPECT_TRUE(sink.data() == output_);
}

}  // namespace
}  // namespace mayfly
