// Clients that ask for payloads and do not read them: what has ended does not reach them any more,
// and what waits for them is bounded.

#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "e2e/subscription_call.h"
#include "e2e/test_client.h"
#include "support/process_memory.h"
#include "support/tcp_proxy.h"
#include "support/test_server.h"

namespace mayfly {
namespace {

using ::testing::AnyOf;
using ::testing::Each;
using ::testing::StartsWith;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr absl::Duration kPatience = absl::Seconds(60);
// Enough for a busy machine to begin with what must be under way when a payload ends.
constexpr absl::Duration kShortTtl = absl::Seconds(12);
// A server gives up the write of an ended payload a second after the end; and what a busy machine
// adds.
constexpr absl::Duration kGivenUp = absl::Seconds(3);

// How far a stream's bytes may run ahead of who reads them.
grpc::ChannelArguments Window(int bytes) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, bytes);
  return arguments;
}
constexpr int kSmallWindow = 64 << 10;
constexpr int kLargeWindow = 256 << 20;

// proc(5), /proc/PID/stat: utime and stime.
absl::Duration CpuTimeOf(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string fields;
  std::getline(file, fields);
  const std::vector<std::string> after_name =
      absl::StrSplit(fields.substr(fields.rfind(')') + 2), ' ');
  int64_t user_ticks = 0;
  int64_t system_ticks = 0;
  EXPECT_TRUE(absl::SimpleAtoi(after_name.at(11), &user_ticks));
  EXPECT_TRUE(absl::SimpleAtoi(after_name.at(12), &system_ticks));
  return absl::Seconds(1) * (user_ticks + system_ticks) / sysconf(_SC_CLK_TCK);
}

class SlowReaderTest : public ::testing::Test {
 protected:
  explicit SlowReaderTest(const std::string& settings = "") : server_(settings) {
    server_.Start();
    client_ = std::make_unique<TestClient>(server_.Channel("client"));
    worker_ = std::make_unique<TestClient>(server_.Channel("worker"));
  }

  std::vector<std::string> PutInputs(int count, size_t bytes, absl::Duration ttl) {
    v1::PutInputsRequest request;
    for (int i = 0; i < count; ++i) {
      v1::InputItem* const item = request.add_items();
      item->set_call_id(NewCallId());
      item->mutable_payload()->set_data(std::string(bytes, 'i'));
      item->mutable_ttl()->set_seconds(absl::ToInt64Seconds(ttl));
    }
    v1::PutInputsResponse response;
    EXPECT_TRUE(client_->Call(&v1::FunctionIo::Stub::PutInputs, request, &response).ok());
    std::vector<std::string> ids;
    for (const v1::PutInputResult& result : response.results()) {
      EXPECT_EQ(Summary(result.status()), "OK");
      ids.push_back(result.call_id());
    }
    return ids;
  }

  void PutOutputs(const std::vector<std::string>& ids, size_t bytes, absl::Duration ttl) {
    v1::PutOutputsRequest request;
    for (const std::string& id : ids) {
      v1::OutputItem* const item = request.add_items();
      item->set_call_id(id);
      item->set_attempt(1);
      item->set_outcome(v1::OUTCOME_SUCCESS);
      item->mutable_payload()->set_data(std::string(bytes, 'o'));
      item->mutable_ttl()->set_seconds(absl::ToInt64Seconds(ttl));
    }
    v1::PutOutputsResponse response;
    ASSERT_TRUE(worker_->Call(&v1::FunctionIo::Stub::PutOutputs, request, &response).ok());
    for (const v1::PutOutputResult& result : response.results()) {
      ASSERT_EQ(Summary(result.status()), "OK");
    }
  }

  void WaitFor(const std::string& id, v1::CallState state) {
    const absl::Time end = absl::Now() + kPatience;
    while (client_->Describe(id).state() != state && absl::Now() < end) {
      absl::SleepFor(absl::Milliseconds(20));
    }
    ASSERT_EQ(client_->Describe(id).state(), state);
  }

  // Until the server has done what it can and waits for its clients.
  void WaitUntilIdle() {
    constexpr absl::Duration kLook = absl::Seconds(2);
    constexpr absl::Duration kIdle = absl::Milliseconds(30);  // three ticks of the kernel's count
    const absl::Time end = absl::Now() + kPatience;
    absl::Duration before = CpuTimeOf(server_.pid());
    while (absl::Now() < end) {
      absl::SleepFor(kLook);
      const absl::Duration now = CpuTimeOf(server_.pid());
      if (now - before <= kIdle) return;
      before = now;
    }
    FAIL() << "the server is never idle";
  }

  void Delete(const std::vector<std::string>& ids) {
    v1::DeleteCallsRequest request;
    for (const std::string& id : ids) request.add_call_ids(id);
    v1::DeleteCallsResponse response;
    ASSERT_TRUE(client_->Call(&v1::FunctionIo::Stub::DeleteCalls, request, &response).ok());
    for (const v1::DeleteResult& result : response.results()) {
      ASSERT_EQ(Summary(result.status()), "OK");
    }
  }

  TestServer server_;
  std::unique_ptr<TestClient> client_;
  std::unique_ptr<TestClient> worker_;
};

// ---- What has ended

constexpr int kOutputs = 120;
constexpr size_t kOutputBytes = 30'000;
// What the client's window takes before it reads, and one message that was complete by then.
constexpr int kOutputsMax = 8;

// A stream that is told of outputs and does not read them.
class UnreadStream {
 public:
  UnreadStream(const TestServer& server, const std::vector<std::string>& ids)
      : client_(server.Channel("client", Window(kSmallWindow))), call_(&client_) {
    v1::SubscriptionRequest request = SubscriptionCall::Opening();
    for (const std::string& id : ids) request.add_subscribe_call_ids(id);
    EXPECT_TRUE(call_.Write(request));
  }
  // How many payloads come yet; then the stream is over.
  int ReadRest() {
    int count = 0;
    v1::SessionResponse response;
    while (call_.Read(&response)) {
      for (const v1::SubscriptionResponse& part : response.subscriptions()) {
        for (const v1::ClaimedOutput& output : part.outputs()) count += output.has_payload();
      }
    }
    status_ = call_.Finish();
    return count;
  }
  const std::string& status() const { return status_; }

 private:
  TestClient client_;
  SubscriptionCall call_;
  std::string status_;
};

TEST_F(SlowReaderTest, AStreamBringsNothingPastItsDeadline) {
  const std::vector<std::string> ids = PutInputs(kOutputs, 2, absl::Minutes(10));
  PutOutputs(ids, kOutputBytes, kShortTtl);
  UnreadStream stream(server_, ids);
  WaitFor(ids.front(), v1::CALL_STATE_CLAIMED);
  WaitFor(ids.back(), v1::CALL_STATE_EXPIRED);
  absl::SleepFor(kGivenUp);
  EXPECT_LE(stream.ReadRest(), kOutputsMax);
  EXPECT_EQ(stream.status(), "UNAVAILABLE");
}

TEST_F(SlowReaderTest, AStreamBringsNothingPastAnAnsweredDelete) {
  const std::vector<std::string> ids = PutInputs(kOutputs, 2, absl::Minutes(10));
  PutOutputs(ids, kOutputBytes, absl::Minutes(10));
  UnreadStream stream(server_, ids);
  WaitFor(ids.back(), v1::CALL_STATE_CLAIMED);
  WaitUntilIdle();
  Delete({ids.back()});
  EXPECT_LE(stream.ReadRest(), kOutputsMax);
  EXPECT_EQ(stream.status(), "UNAVAILABLE");
}

// One Download that reads a segment and then no more for a while.
class UnreadDownload {
 public:
  UnreadDownload(const TestServer& server, const std::string& id)
      : worker_(server.Channel("worker", Window(kSmallWindow))) {
    v1::DownloadRequest request;
    request.set_call_id(id);
    request.set_kind(v1::PAYLOAD_KIND_INPUT);
    reader_ = worker_.stub()->Download(&context_, request);
    v1::DownloadResponse response;
    EXPECT_TRUE(reader_->Read(&response));
    EXPECT_TRUE(reader_->Read(&response));
  }
  // How many bytes come yet; then it is over.
  size_t ReadRest() {
    size_t bytes = 0;
    v1::DownloadResponse response;
    while (reader_->Read(&response)) bytes += response.segment().data().size();
    status_ = Summary(reader_->Finish());
    return bytes;
  }
  const std::string& status() const { return status_; }

 private:
  TestClient worker_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::DownloadResponse>> reader_;
  std::string status_;
};

TEST_F(SlowReaderTest, ADownloadBringsNothingPastItsDeadline) {
  const std::vector<std::string> ids = PutInputs(1, 8 * kMiB, kShortTtl);
  UnreadDownload download(server_, ids[0]);
  WaitFor(ids[0], v1::CALL_STATE_EXPIRED);
  absl::SleepFor(kGivenUp);
  EXPECT_EQ(download.ReadRest(), 0u);
  EXPECT_EQ(download.status(), "UNAVAILABLE");
}

TEST_F(SlowReaderTest, ADownloadBringsNothingPastAnAnsweredDelete) {
  const std::vector<std::string> ids = PutInputs(1, 8 * kMiB, absl::Minutes(10));
  UnreadDownload download(server_, ids[0]);
  WaitUntilIdle();
  Delete(ids);
  EXPECT_EQ(download.ReadRest(), 0u);
  EXPECT_EQ(download.status(), "UNAVAILABLE");
}

// One reply that stops on its way to the client: the connection takes nothing any more, and the
// client's window is no limit, so that the server writes until the kernel takes no more.
class StalledReply {
 public:
  // `warm_up` is another input, of some size: a client opens its window when bytes come.
  StalledReply(const TestServer& server, const std::string& warm_up,
               const std::vector<std::string>& ids)
      : proxy_(server.port()) {
    arguments_ = Window(kLargeWindow);
    client_ = std::make_unique<TestClient>(server.ChannelTo(proxy_.port(), "worker", arguments_));
    std::string data;
    EXPECT_EQ(client_->GetInput(warm_up, &data), "OK");
    proxy_.Stall(TcpProxy::kToClient);
    before_ = proxy_.PassedBytes(TcpProxy::kToClient);
    thread_ = std::thread([this, ids] {
      v1::GetInputsRequest request;
      for (const std::string& id : ids) request.add_call_ids(id);
      request.set_max_bytes(64 * kMiB);
      v1::GetInputsResponse response;
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(120));
      status_ = Summary(client_->stub()->GetInputs(&context, request, &response));
    });
  }
  // Likewise a claim of outputs; `warm_up` is another output.
  StalledReply(const TestServer& server, const std::string& warm_up,
               const v1::ClaimOutputsRequest& request)
      : proxy_(server.port()) {
    arguments_ = Window(kLargeWindow);
    client_ = std::make_unique<TestClient>(server.ChannelTo(proxy_.port(), "client", arguments_));
    v1::ClaimOutputsRequest first = request;
    first.clear_call_ids();
    first.add_call_ids(warm_up);
    v1::ClaimOutputsResponse claimed;
    EXPECT_TRUE(client_->Call(&v1::FunctionIo::Stub::ClaimOutputs, first, &claimed).ok());
    EXPECT_EQ(claimed.outputs_size(), 1);
    proxy_.Stall(TcpProxy::kToClient);
    before_ = proxy_.PassedBytes(TcpProxy::kToClient);
    thread_ = std::thread([this, request] {
      v1::ClaimOutputsResponse response;
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(120));
      status_ = Summary(client_->stub()->ClaimOutputs(&context, request, &response));
    });
  }
  ~StalledReply() {
    if (thread_.joinable()) End();
  }
  // Lets pass what there is. How many bytes that was.
  uint64_t End() {
    proxy_.GoOn();
    thread_.join();
    return proxy_.PassedBytes(TcpProxy::kToClient) - before_;
  }
  const std::string& status() const { return status_; }

 private:
  TcpProxy proxy_;
  grpc::ChannelArguments arguments_;
  std::unique_ptr<TestClient> client_;
  uint64_t before_ = 0;
  std::thread thread_;
  std::string status_;
};

// What Linux keeps of a connection by default: 4 MiB at the sender, 6 MiB at the receiver, which is
// the proxy here.
constexpr uint64_t kKernelBytesMax = 11 * kMiB;

TEST_F(SlowReaderTest, AReplyBringsNothingPastAnAnsweredDelete) {
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(PutInputs(1, 15 * kMiB, absl::Minutes(10))[0]);
  StalledReply reply(server_, PutInputs(1, 2 * kMiB, absl::Minutes(10))[0], ids);
  WaitUntilIdle();
  Delete({ids.back()});
  absl::SleepFor(kGivenUp);
  const uint64_t bytes = reply.End();
  std::printf("of 45 MiB came %.2f MiB\n", static_cast<double>(bytes) / kMiB);
  EXPECT_LE(bytes, kKernelBytesMax);
  EXPECT_EQ(reply.status(), "UNAVAILABLE");
}

TEST_F(SlowReaderTest, AReplyBringsNothingPastItsDeadline) {
  std::vector<std::string> ids;
  for (int i = 0; i < 2; ++i) ids.push_back(PutInputs(1, 15 * kMiB, absl::Minutes(10))[0]);
  ids.push_back(PutInputs(1, 15 * kMiB, kShortTtl)[0]);
  StalledReply reply(server_, PutInputs(1, 2 * kMiB, absl::Minutes(10))[0], ids);
  WaitFor(ids.back(), v1::CALL_STATE_EXPIRED);
  absl::SleepFor(kGivenUp);
  const uint64_t bytes = reply.End();
  std::printf("of 45 MiB came %.2f MiB\n", static_cast<double>(bytes) / kMiB);
  EXPECT_LE(bytes, kKernelBytesMax);
  EXPECT_EQ(reply.status(), "UNAVAILABLE");
}

class TwoShardsTest : public SlowReaderTest {
 protected:
  TwoShardsTest() : SlowReaderTest("[storage]\nshards = 2\n") {}
};

// The claim's reply is cancelled by the thread of one shard, in the middle of a group, and its
// claims are also of the other one.
TEST_F(TwoShardsTest, AStalledClaimIsGivenBackWhenOneOfItsOutputsEnds) {
  const auto new_output = [this] {
    const std::string id = PutInputs(1, 1, absl::Minutes(10))[0];
    EXPECT_EQ(worker_->PutOutput(id, std::string(6 * kMiB, 'o')), "OK");
    return id;
  };
  const std::string warm_up = new_output();
  v1::ClaimOutputsRequest request;
  for (int i = 0; i < 8; ++i) request.add_call_ids(new_output());
  request.set_claim_token(NewClaimToken());
  request.set_max_bytes(64 * kMiB);
  StalledReply reply(server_, warm_up, request);
  WaitFor(request.call_ids(0), v1::CALL_STATE_CLAIMED);
  WaitUntilIdle();
  absl::SleepFor(absl::Seconds(1));  // in which the reply becomes an old one
  Delete({request.call_ids(0)});
  for (int i = 1; i < 8; ++i) WaitFor(request.call_ids(i), v1::CALL_STATE_READY);
  reply.End();
  EXPECT_EQ(reply.status(), "UNAVAILABLE");
}

// ---- What waits

class UnreadRepliesTest : public SlowReaderTest {
 protected:
  UnreadRepliesTest()
      : SlowReaderTest(
            "[limits]\nunsent_bytes_max = \"160MiB\"\n"
            "tenant_unsent_bytes_max = \"130MiB\"\n"
            "connection_unsent_bytes_max = \"64MiB\"\n") {}
};

TEST_F(UnreadRepliesTest, AreBoundedAndTheirMemoryIsGivenBack) {
  constexpr int kReplies = 40;
  const std::string id = PutInputs(1, 40 * kMiB, absl::Minutes(10))[0];
  WaitUntilIdle();
  const ProcessMemory before = ReadProcessMemory(server_.pid());
  TcpProxy proxy(server_.port());
  std::vector<std::unique_ptr<TestClient>> workers;
  for (int i = 0; i < 8; ++i) {
    workers.push_back(std::make_unique<TestClient>(
        server_.ChannelTo(proxy.port(), "worker", Window(kSmallWindow))));
    std::string none;
    EXPECT_EQ(workers.back()->GetInput(NewCallId(), &none), "NOT_FOUND CALL_UNKNOWN");
  }
  proxy.Stall(TcpProxy::kToClient);
  MemoryWatch watch(server_.pid());
  std::vector<std::thread> threads;
  std::vector<std::string> answers(kReplies);
  for (int i = 0; i < kReplies; ++i) {
    threads.emplace_back([&, i] {
      v1::GetInputsRequest request;
      request.add_call_ids(id);
      request.set_max_bytes(64 * kMiB);
      v1::GetInputsResponse response;
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(120));
      const grpc::Status status =
          workers[i % workers.size()]->stub()->GetInputs(&context, request, &response);
      answers[i] = status.ok() ? Summary(response.results(0).status()) : Summary(status);
    });
  }
  // Until every request has been looked at: refusals wait on the connection as replies do.
  WaitUntilIdle();
  const int64_t peak = watch.Peak().anonymous_bytes - before.anonymous_bytes;
  proxy.GoOn();
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(answers, Each(AnyOf("OK", "RESOURCE_EXHAUSTED OVERLOADED")));
  // Three of a tenant's 130 MiB, and each twice: as gRPC has it, and as the message has it.
  EXPECT_EQ(std::count(answers.begin(), answers.end(), "OK"), 3);
  EXPECT_LE(peak, 300 * kMiB);
  const absl::Time end = absl::Now() + kPatience;
  int64_t kept = 0;
  do {
    absl::SleepFor(absl::Milliseconds(100));
    kept = ReadProcessMemory(server_.pid()).anonymous_bytes - before.anonymous_bytes;
  } while (kept > 48 * kMiB && absl::Now() < end);
  std::printf("grew by %lld MiB, kept %lld MiB\n", static_cast<long long>(peak / kMiB),
              static_cast<long long>(kept / kMiB));
  EXPECT_LE(kept, 48 * kMiB);
}

}  // namespace
}  // namespace mayfly
