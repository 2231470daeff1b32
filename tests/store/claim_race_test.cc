// The promise "once": exactly one of any number of concurrent retrievers wins.
#include <atomic>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "store/gate.h"
#include "store/store_harness.h"

namespace mayfly {
namespace {

constexpr int kRounds = 1000;
constexpr int kClaimers = 64;

TEST(ClaimRace, OfSixtyFourClaimersOneWinsInEveryRound) {
  StoreHarness harness;
  harness.config.storage.durability = Config::Durability::kRelaxed;
  harness.Open();
  Tenant* const tenant = harness.tenant();
  for (int round = 0; round < kRounds; ++round) {
    const CallId id = harness.NewId();
    ASSERT_TRUE(harness.PutInput(id, "in").status.ok());
    ASSERT_TRUE(harness.PutOutput(id, "out").status.ok());
    std::vector<std::unique_ptr<Awaited<ClaimResponse>>> answers;
    for (int i = 0; i < kClaimers; ++i) {
      answers.push_back(std::make_unique<Awaited<ClaimResponse>>());
    }
    // Four threads, so that claims meet in the queue and in one group alike.
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = t; i < kClaimers; i += 4) {
          harness.store()->ClaimOutputs(tenant, StoreHarness::MakeClaim({id}, i + 1),
                                        answers[i]->callback());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    std::vector<std::pair<uint64_t, uint64_t>> winners;  // token and fence
    for (int i = 0; i < kClaimers; ++i) {
      const ClaimResponse response = answers[i]->Get();
      ASSERT_TRUE(response.status.ok());
      ASSERT_EQ(response.outputs.size() + response.pending_count, 1);
      if (!response.outputs.empty()) winners.emplace_back(i + 1, response.outputs[0].fence);
    }
    ASSERT_EQ(winners.size(), 1) << "round " << round;
    ASSERT_TRUE(harness.Ack(id, winners[0].first, winners[0].second).status.ok());
    ASSERT_EQ(harness.Claim(id, kClaimers + 1).ended.size(), 1);
  }
}

// Whole lives from many threads at once, so that groups are committed here by those who bring them
// and there by the shard's own thread, and callbacks bring new requests.
TEST(ClaimRace, LivesOfManyThreadsDoNotMeet) {
  for (const auto durability : {Config::Durability::kRelaxed, Config::Durability::kSync}) {
    StoreHarness harness;
    harness.config.storage.durability = durability;
    harness.background_threads = true;
    harness.Open();
    Tenant* const tenant = harness.tenant();
    std::atomic<int> acked{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 250; ++i) {
          const CallId id = harness.NewId();
          const std::string text = absl::StrCat("payload ", t, " ", i);
          ASSERT_TRUE(harness.PutInput(id, text).status.ok());
          ASSERT_EQ(harness.GetInput(id).payload->data, text);
          // Waits before there is anything to wait for.
          ClaimRequest request = StoreHarness::MakeClaim({id}, 1 + i);
          request.wait_ms = 50'000;
          Awaited<ClaimResponse> claim;
          harness.store()->ClaimOutputs(tenant, std::move(request), claim.callback());
          ASSERT_TRUE(harness.PutOutput(id, text).status.ok());
          const ClaimResponse response = claim.Get();
          ASSERT_EQ(response.outputs.size(), 1u);
          ASSERT_EQ(response.outputs[0].payload->data, text);
          ASSERT_TRUE(harness.Ack(id, 1 + i, response.outputs[0].fence).status.ok());
          ASSERT_EQ(harness.GetInput(id).status.code(), absl::StatusCode::kNotFound);
          ++acked;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(acked, 1000);
    EXPECT_FALSE(harness.has_failed());
  }
}

TEST(ClaimRace, OfManyAcksWithStolenTokensOneCounts) {
  StoreHarness harness;
  harness.Open();
  const CallId id = harness.NewId();
  ASSERT_TRUE(harness.PutInput(id, "in").status.ok());
  ASSERT_TRUE(harness.PutOutput(id, "out").status.ok());
  const uint64_t fence = harness.Claim(id, 1).outputs.at(0).fence;
  std::atomic<int> ok{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      if (harness.Ack(id, 1 + i % 2, fence).status.ok()) ++ok;
    });
  }
  for (std::thread& thread : threads) thread.join();
  // The right token's four acks are one ack, repeated.
  EXPECT_EQ(ok, 4);
}

// What was claimed is replaced by another attempt before it is read.
TEST(ClaimRace, AClaimThatIsLostBeforeItIsReadSaysNothingOfItsCall) {
  StoreHarness harness;
  Gate read;
  harness.hooks.read_row = read.hook();
  harness.Open();
  const CallId id = harness.NewId();
  ASSERT_TRUE(harness.PutInput(id, "in").status.ok());
  ASSERT_TRUE(harness.PutOutput(id, "out").status.ok());
  ClaimRequest request = StoreHarness::MakeClaim({id}, 1);
  request.lease_ms = 1000;
  Awaited<ClaimResponse> claimed;
  std::thread reader([&] {
    harness.store()->ClaimOutputs(harness.tenant(), std::move(request), claimed.callback());
  });
  read.WaitUntilReached();
  harness.clock.Advance(absl::Milliseconds(1001));
  EXPECT_EQ(harness.PutOutput(id, "again", 2).status, absl::OkStatus());
  read.Open();
  reader.join();
  const ClaimResponse response = claimed.Get();
  EXPECT_EQ(response.status, absl::OkStatus());
  EXPECT_TRUE(response.outputs.empty());
  EXPECT_TRUE(response.ended.empty());
  EXPECT_EQ(response.pending_count, 1u);
  const ClaimResponse next = harness.Claim(id, 2);
  ASSERT_EQ(next.outputs.size(), 1u);
  EXPECT_EQ(next.outputs[0].payload->data, "again");
}

}  // namespace
}  // namespace mayfly
