// The C++ client with the real server: payloads of every size through the functions that take any
// size, and a map.

#include "mayfly/client.h"

#include <atomic>
#include <map>
#include <random>
#include <set>
#include <string.h>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "crypto/sha256.h"
#include "support/random_seed.h"
#include "support/sizes.h"
#include "support/test_server.h"

namespace mayfly::client {
namespace {

constexpr size_t kKiB = 1 << 10;

class ClientLife : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new TestServer("[storage]\ndurability = \"relaxed\"\n");
    server_->Start();
  }
  static void TearDownTestSuite() {
    EXPECT_EQ(server_->Stop(), 0) << server_->Log();
    delete server_;
  }
  static Client Connect(const std::string& who, ClientOptions options = {}) {
    options.target = absl::StrCat("localhost:", server_->port());
    options.ca_file = server_->certificates() + "/ca.pem";
    options.certificate_file = server_->certificates() + "/" + who + ".pem";
    options.key_file = server_->certificates() + "/" + who + ".key";
    absl::StatusOr<Client> client = Client::Connect(options);
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }
  std::string RandomData(size_t size) {
    std::string data(size, '\0');
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
      const uint64_t word = random_();
      memcpy(data.data() + i, &word, 8);
    }
    for (; i < size; ++i) data[i] = static_cast<char>(random_());
    return data;
  }

  static TestServer* server_;
  const uint64_t seed_ = RandomSeed();
  std::mt19937_64 random_{seed_};
  const testing::ScopedTrace trace_{__FILE__, __LINE__, absl::StrCat("seed ", seed_)};
  const Client client_ = Connect("client");
  const Client worker_ = Connect("worker");
};

TestServer* ClientLife::server_ = nullptr;

Sha256Digest DigestOf(const std::string& data) { return Sha256Of(AsBytes(data)); }

// One put, one get, one put, one retrieval, whatever the size.
TEST_F(ClientLife, EverySizeGoesThroughInputAndOutput) {
  for (const size_t bytes : {size_t{0}, size_t{1}, 16 * kKiB - 1, 16 * kKiB, 16 * kKiB + 1,
                             64 * kKiB, 64 * kKiB + 1, kMiB - 1, kMiB, kMiB + 1, 64 * kMiB}) {
    SCOPED_TRACE(bytes);
    const std::string question = RandomData(bytes);
    const std::string answer = RandomData(bytes);
    const absl::StatusOr<Stored> put =
        client_.PutInput({.payload = {.data = question, .content_type = "a/b"}});
    ASSERT_TRUE(put.ok()) << put.status();
    const absl::StatusOr<StoredInput> input = worker_.GetInput(put->call_id);
    ASSERT_TRUE(input.ok()) << input.status();
    EXPECT_EQ(input->payload.content_type, "a/b");
    EXPECT_EQ(input->size_bytes, bytes);
    EXPECT_EQ(DigestOf(input->payload.data), DigestOf(question));

    const absl::StatusOr<Stored> answered =
        worker_.PutOutput({.call_id = put->call_id,
                           .outcome = Outcome::kFailure,
                           .payload = {.data = answer, .labels = {{"zone", "b"}}}});
    ASSERT_TRUE(answered.ok()) << answered.status();
    int delivered = 0;
    const absl::StatusOr<absl::Time> erased =
        client_.Retrieve(put->call_id, [&](const ClaimedOutput& output) {
          ++delivered;
          EXPECT_EQ(output.outcome, Outcome::kFailure);
          EXPECT_EQ(output.payload.labels.at("zone"), "b");
          EXPECT_EQ(DigestOf(output.payload.data), DigestOf(answer));
          return absl::OkStatus();
        });
    ASSERT_TRUE(erased.ok()) << erased.status();
    EXPECT_EQ(delivered, 1);
    EXPECT_EQ(ReasonOf(worker_.GetInput(put->call_id).status()), Reason::kOutputConsumed);
  }
}

// In one batch some fit into an answer together, some alone, and one into none.
TEST_F(ClientLife, ABatchOfInputsBringsWhatAMessageHolds) {
  std::vector<std::string> ids;
  std::vector<std::string> data;
  for (const size_t bytes : {5 * kMiB, kMiB, size_t{0}, 2 * kMiB, 4 * kMiB, 65 * kMiB}) {
    data.push_back(RandomData(bytes));
    const absl::StatusOr<Stored> put = client_.PutInput({.payload = {.data = data.back()}});
    ASSERT_TRUE(put.ok()) << put.status();
    ids.push_back(put->call_id);
  }
  const auto inputs = worker_.GetInputs(ids);
  for (size_t i = 0; i < 5; ++i) {
    ASSERT_TRUE(inputs[i].ok()) << inputs[i].status();
    EXPECT_EQ(DigestOf(inputs[i]->payload.data), DigestOf(data[i])) << i;
  }
  EXPECT_TRUE(absl::IsOutOfRange(inputs[5].status())) << inputs[5].status();
  for (const auto& deleted : client_.DeleteCalls(ids)) EXPECT_TRUE(deleted.ok());
}

// 64 workers, of whom each takes one call at a time, and one caller who takes outputs as they come.
TEST_F(ClientLife, AMapOfTenThousandCallsGetsEachOutputOnceAndLeavesNothing) {
  constexpr size_t kCalls = 10'000;
  constexpr int kWorkers = 64;
  std::vector<Input> inputs(kCalls);
  std::vector<std::string> ids;
  for (size_t i = 0; i < kCalls; ++i) {
    inputs[i].call_id = MintCallId();
    inputs[i].payload.data = absl::StrCat("input ", i);
    ids.push_back(inputs[i].call_id);
  }
  const OutputStream outputs = client_.StreamOutputs();
  for (const auto& put : client_.PutInputs(std::move(inputs)))
    ASSERT_TRUE(put.ok()) << put.status();
  outputs.Subscribe(ids);

  std::atomic<size_t> next = 0;
  std::atomic<size_t> failures = 0;
  std::vector<std::thread> workers;
  for (int i = 0; i < kWorkers; ++i) {
    workers.emplace_back([&] {
      for (size_t call = next++; call < kCalls; call = next++) {
        const absl::StatusOr<StoredInput> input = worker_.GetInput(ids[call]);
        const bool ok =
            input.ok() &&
            worker_
                .PutOutput({.call_id = ids[call], .payload = {.data = input->payload.data + "!"}})
                .ok();
        failures += ok ? 0 : 1;
      }
    });
  }
  std::set<std::string> told;
  while (true) {
    const absl::StatusOr<OutputEvent> event = outputs.Next(absl::Minutes(2));
    if (absl::IsOutOfRange(event.status())) break;
    ASSERT_TRUE(event.ok()) << event.status();
    ASSERT_TRUE(event->output.ok()) << event->output.status();
    EXPECT_TRUE(told.insert(event->output->payload.data).second) << event->output->payload.data;
    outputs.Ack(event->output->claim);
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(failures, 0u);
  EXPECT_EQ(outputs.PendingCount(), 0u);
  const absl::Status acked = outputs.Flush();
  EXPECT_TRUE(acked.ok()) << acked;
  EXPECT_EQ(told.size(), kCalls);
  for (size_t i = 0; i < kCalls; ++i) EXPECT_TRUE(told.contains(absl::StrCat("input ", i, "!")));
  for (const auto& call : client_.DescribeCalls(ids)) {
    ASSERT_TRUE(call.ok()) << call.status();
    EXPECT_EQ(call->state, CallState::kConsumed);
    EXPECT_FALSE(call->input.has_value());
    EXPECT_FALSE(call->output.has_value());
  }
}

TEST_F(ClientLife, LargeAndSmallOutputsOfOneMapComeInOneStream) {
  constexpr size_t kCalls = 60;
  const OutputStream outputs = client_.StreamOutputs({.window_bytes = 4 * kMiB});
  std::map<std::string, Sha256Digest> expected;
  std::vector<std::string> ids;
  for (size_t i = 0; i < kCalls; ++i) ids.push_back(MintCallId());
  for (size_t i = 0; i < kCalls; ++i) {
    ASSERT_TRUE(client_.PutInput({.call_id = ids[i]}).ok());
    const std::string data = RandomData(i % 6 == 0 ? 2 * kMiB + i : 1000 + i);
    expected[ids[i]] = DigestOf(data);
    outputs.Subscribe({ids[i]});
    ASSERT_TRUE(worker_.PutOutput({.call_id = ids[i], .payload = {.data = data}}).ok());
  }
  for (size_t i = 0; i < kCalls; ++i) {
    const absl::StatusOr<OutputEvent> event = outputs.Next(absl::Minutes(1));
    ASSERT_TRUE(event.ok()) << event.status();
    ASSERT_TRUE(event->output.ok()) << event->output.status();
    EXPECT_EQ(DigestOf(event->output->payload.data), expected[event->call_id]);
    EXPECT_EQ(expected.erase(event->call_id), 1u);
    outputs.Ack(event->output->claim);
  }
  EXPECT_TRUE(outputs.Flush().ok());
  EXPECT_TRUE(absl::IsOutOfRange(outputs.Next().status()));
  for (const auto& call : client_.DescribeCalls(ids)) {
    EXPECT_EQ(call->state, CallState::kConsumed);
  }
}

}  // namespace
}  // namespace mayfly::client
