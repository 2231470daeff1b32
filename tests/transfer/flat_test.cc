// Memory must not grow with the claims of clients or with idle connections.

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/channel.h>
#include <gtest/gtest.h>

#include "e2e/test_client.h"
#include "support/process_memory.h"
#include "support/sizes.h"
#include "support/test_server.h"

namespace mayfly {
namespace {

int64_t GrowthMiB(const TestServer& server, const ProcessMemory& before, const char* what) {
  const int64_t bytes = ReadProcessMemory(server.pid()).resident_bytes - before.resident_bytes;
  std::printf("%s: from %lld MiB by %.1f MiB\n", what,
              static_cast<long long>(before.resident_bytes / static_cast<int64_t>(kMiB)),
              static_cast<double>(bytes) / kMiB);
  return bytes / static_cast<int64_t>(kMiB);
}

// Calls with both payloads, in batches.
std::vector<std::vector<std::string>> ReadyCalls(TestClient* client, TestClient* worker,
                                                 int batches, int batch_items) {
  std::vector<std::vector<std::string>> ids(batches);
  for (std::vector<std::string>& batch : ids) {
    v1::PutInputsRequest inputs;
    v1::PutOutputsRequest outputs;
    for (int i = 0; i < batch_items; ++i) {
      batch.push_back(NewCallId());
      v1::InputItem* const input = inputs.add_items();
      input->set_call_id(batch.back());
      input->mutable_payload();
      v1::OutputItem* const output = outputs.add_items();
      output->set_call_id(batch.back());
      output->mutable_payload();
    }
    v1::PutInputsResponse input_results;
    v1::PutOutputsResponse output_results;
    EXPECT_EQ(Summary(client->Call(&v1::FunctionIo::Stub::PutInputs, inputs, &input_results)),
              "OK");
    EXPECT_EQ(Summary(worker->Call(&v1::FunctionIo::Stub::PutOutputs, outputs, &output_results)),
              "OK");
  }
  return ids;
}

// They take about 42 MiB.
TEST(FlatTest, HeldClaimsNeedLittleMemory) {
  constexpr int kBatches = 200;
  constexpr int kBatchItems = 512;
  TestServer server("[claims]\noutstanding_max = 1000000\nlease_default = \"10m\"\n");
  server.Start();
  TestClient client(server.Channel("client"));
  TestClient worker(server.Channel("worker"));
  const auto ids = ReadyCalls(&client, &worker, kBatches, kBatchItems);
  const ProcessMemory before = ReadProcessMemory(server.pid());
  int claimed = 0;
  for (const std::vector<std::string>& batch : ids) {
    v1::ClaimOutputsRequest request;
    for (const std::string& id : batch) request.add_call_ids(id);
    request.set_claim_token(NewClaimToken());
    v1::ClaimOutputsResponse response;
    EXPECT_EQ(Summary(client.Call(&v1::FunctionIo::Stub::ClaimOutputs, request, &response)), "OK");
    claimed += response.outputs_size();
  }
  EXPECT_EQ(claimed, kBatches * kBatchItems);
  EXPECT_LT(GrowthMiB(server, before, "102,400 held claims"), 64);
}

// They take about 100 MiB.
TEST(FlatTest, IdleConnectionsNeedLittleMemory) {
  constexpr int kConnections = 1000;
  TestServer server;
  server.Start();
  EXPECT_EQ(TestClient(server.Channel("client")).PutInput(NewCallId(), "in"), "OK");
  const ProcessMemory before = ReadProcessMemory(server.pid());
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < kConnections; ++i) {
    clients.push_back(std::make_unique<TestClient>(server.Channel("client")));
    ASSERT_EQ(clients.back()->PutInput(NewCallId(), "in"), "OK") << "connection " << i;
  }
  EXPECT_LT(GrowthMiB(server, before, "1,000 idle connections"), 192);
}

}  // namespace
}  // namespace mayfly
