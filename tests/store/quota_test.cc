// Reservations by themselves: what they take, what they give back, and what a refused one refuses.
#include "store/quota.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

#include "base/error.h"
#include "store/gate.h"
#include "store/store_harness.h"

namespace mayfly {
namespace {

constexpr int64_t kKiB = 1 << 10;

TEST(TenantLedgerTest, TakesAllOrNothing) {
  TenantLedger ledger({.live_calls_max = 2, .live_bytes_max = 100});
  EXPECT_TRUE(ledger.Take({.calls = 1, .bytes = 60}).ok());
  const absl::Status bytes = ledger.Take({.calls = 1, .bytes = 41});
  EXPECT_EQ(ReasonOf(bytes), Reason::kQuotaBytes);
  EXPECT_EQ(bytes.message(), "live_bytes would be 101, limit is 100");
  EXPECT_EQ(RetryDelayOf(bytes), absl::Seconds(1));
  EXPECT_EQ(ledger.taken_calls(), 1) << "the call was given back";
  EXPECT_TRUE(ledger.Take({.calls = 1, .bytes = 40}).ok());
  const absl::Status calls = ledger.Take({.calls = 1});
  EXPECT_EQ(ReasonOf(calls), Reason::kQuotaCalls);
  EXPECT_EQ(calls.message(), "live_calls would be 3, limit is 2");
  EXPECT_EQ(ledger.taken_bytes(), 100);
}

TEST(TenantLedgerTest, LimitsAreReplacedWhileTheyAreRead) {
  TenantLedger ledger({.live_calls_max = 1, .live_bytes_max = 1});
  std::atomic<bool> stops{false};
  std::thread reader([&] {
    while (!stops) {
      const QuotaLimits& limits = ledger.limits();
      EXPECT_EQ(limits.live_calls_max, limits.live_bytes_max) << "one value, never half of two";
    }
  });
  for (uint64_t i = 0; i < 1000; ++i) {
    ledger.SetLimits({.live_calls_max = i % 3, .live_bytes_max = i % 3});
  }
  stops = true;
  reader.join();
}

TEST(TenantLedgerTest, ALoweredLimitRefusesWhatComesNextAndARaisedOneTakesIt) {
  TenantLedger ledger({.live_bytes_max = 100, .claims_max = 2, .uploads_max = 2});
  ASSERT_TRUE(ledger.Take({.bytes = 90}).ok());
  ASSERT_TRUE(ledger.TakeUpload().ok());
  const ClaimLease claim = ledger.TakeClaim();
  ledger.SetLimits({.live_bytes_max = 50, .claims_max = 1, .uploads_max = 1});
  EXPECT_EQ(ReasonOf(ledger.Take({.bytes = 0})), Reason::kQuotaBytes);
  EXPECT_TRUE(ledger.TakeClaim().empty());
  EXPECT_EQ(ReasonOf(ledger.TakeUpload()), Reason::kQuotaUploads);
  EXPECT_EQ(ledger.taken_bytes(), 90) << "nothing is taken away";
  ledger.SetLimits({.live_bytes_max = 100, .claims_max = 2, .uploads_max = 2});
  EXPECT_TRUE(ledger.Take({.bytes = 10}).ok());
  EXPECT_FALSE(ledger.TakeClaim().empty());
  EXPECT_TRUE(ledger.TakeUpload().ok());
}

TEST(TenantLedgerTest, ThreadsNeverTakeMoreThanTheLimitTogether) {
  TenantLedger ledger({.live_bytes_max = 1000, .claims_max = 50});
  std::atomic<int64_t> taken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        if (!ledger.Take({.bytes = 7}).ok()) continue;
        EXPECT_LE(taken += 7, 1000);
        taken -= 7;
        ledger.Add({.bytes = -7});
        const ClaimLease claim = ledger.TakeClaim();
        EXPECT_LE(ledger.claims(), 50);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ledger.taken_bytes(), 0);
  EXPECT_EQ(ledger.claims(), 0);
}

TEST(TenantLedgerTest, AClaimIsGivenBackOnce) {
  TenantLedger ledger({.claims_max = 1});
  ClaimLease claim = ledger.TakeClaim();
  EXPECT_FALSE(claim.empty());
  EXPECT_TRUE(ledger.TakeClaim().empty());
  ClaimLease moved = std::move(claim);
  EXPECT_EQ(ledger.claims_left(), 0);
  moved = ClaimLease();
  EXPECT_EQ(ledger.claims_left(), 1);
}

TEST(QueueRoomTest, BoundsRequestsAndBytesAndTakesABatchOfAnySizeAlone) {
  QueueRoom room({.requests_max = 10, .bytes_max = 1000});
  {
    const QueueLease large = room.Reserve(1, 5000);
    EXPECT_FALSE(large.empty()) << "nothing else is held";
    EXPECT_TRUE(room.Reserve(1, 0).empty());
  }
  const QueueLease requests = room.Reserve(9, 0);
  EXPECT_TRUE(room.Reserve(2, 0).empty());
  EXPECT_TRUE(room.Reserve(1, 1001).empty());
  EXPECT_FALSE(room.Reserve(1, 1000).empty());
  EXPECT_EQ(room.requests(), 9u);
  EXPECT_EQ(room.bytes(), 0u);
  EXPECT_EQ(ReasonOf(QueueRoom::Refusal()), Reason::kOverloaded);
  EXPECT_GT(RetryDelayOf(QueueRoom::Refusal()), absl::ZeroDuration());
}

class QuotaTest : public testing::Test {
 protected:
  void Open(absl::AnyInvocable<void(Config*)> change) {
    change(&harness_.config);
    harness_.Open();
  }
  TenantLedger& ledger() { return harness_.tenant()->ledger; }
  // What is taken and not in rows.
  int64_t reserved_bytes() { return ledger().taken_bytes() - ledger().live_bytes(); }
  int64_t reserved_calls() { return ledger().taken_calls() - ledger().live_calls(); }
  void ExpectNothingReserved() {
    EXPECT_EQ(reserved_bytes(), 0);
    EXPECT_EQ(reserved_calls(), 0);
  }

  StoreHarness harness_;
};

TEST_F(QuotaTest, ARetryOfAStoredPutSucceedsAtAFullQuota) {
  Open([](Config* config) {
    config->limits.live_calls_max = 2;
    config->limits.live_bytes_max = 3 * kKiB;
  });
  const CallId first = harness_.NewId();
  const std::string input(kKiB, 'i');
  const std::string output(kKiB, 'o');
  ASSERT_TRUE(harness_.PutInput(first, input).status.ok());
  ASSERT_TRUE(harness_.PutOutput(first, output).status.ok());
  ASSERT_TRUE(harness_.PutInput(harness_.NewId(), input).status.ok());
  EXPECT_EQ(ReasonOf(harness_.PutInput(harness_.NewId(), "").status), Reason::kQuotaCalls);
  EXPECT_EQ(ReasonOf(harness_.PutOutput(first, output, 2).status), Reason::kQuotaBytes);
  const PutResult again = harness_.PutInput(first, input);
  EXPECT_TRUE(again.status.ok()) << again.status;
  EXPECT_GT(again.deadline_ms, 0);
  EXPECT_TRUE(harness_.PutOutput(first, output).status.ok());
  EXPECT_EQ(ReasonOf(harness_.PutInput(first, "other").status), Reason::kCallConflict)
      << "what the rules say comes first";
  ExpectNothingReserved();
}

TEST_F(QuotaTest, ARefusedPutSealsNothingAndTakesNoSlot) {
  Open([](Config* config) { config->limits.live_bytes_max = 3 << 20; });
  int written = 0;
  size_t returned = 0;
  harness_.hooks.write_segment = [&] {
    ++written;
    return absl::OkStatus();
  };
  harness_.hooks.returned = [&](size_t count) { returned += count; };
  EXPECT_EQ(ReasonOf(harness_.PutInput(harness_.NewId(), std::string(4 << 20, 'x')).status),
            Reason::kQuotaBytes);
  EXPECT_EQ(written, 0);
  EXPECT_EQ(returned, 0u);
  ExpectNothingReserved();
}

TEST_F(QuotaTest, WhateverBecomesOfAPutNothingStaysReserved) {
  Open([](Config*) {});
  const CallId id = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(id, "input").status.ok());
  ASSERT_TRUE(harness_.PutOutput(id, "output").status.ok());
  ExpectNothingReserved();
  EXPECT_EQ(ledger().live_bytes(), 11);
  EXPECT_TRUE(harness_.PutInput(id, "input").status.ok());
  EXPECT_FALSE(harness_.PutInput(id, "other").status.ok());
  EXPECT_FALSE(harness_.PutOutput(harness_.NewId(), "output").status.ok());
  EXPECT_TRUE(harness_.PutOutput(id, "longer output", 2).status.ok());
  ExpectNothingReserved();
  EXPECT_EQ(ledger().live_bytes(), 18);
  const ClaimResponse claimed = harness_.Claim(id, 1);
  EXPECT_EQ(ledger().claims(), 1);
  EXPECT_TRUE(harness_.Ack(id, 1, claimed.outputs.at(0).fence).status.ok());
  EXPECT_EQ(ledger().claims(), 0);
  EXPECT_EQ(ledger().taken_calls(), 0);
  EXPECT_EQ(ledger().taken_bytes(), 0);
  EXPECT_TRUE(harness_.PutInput(id, "input").status.ok()) << "consumed since: stores nothing";
  ExpectNothingReserved();
}

// Each holds what it may take from before it is sealed, so they cannot pass the limit together.
TEST_F(QuotaTest, PutsOfManyThreadsOnManyShardsStopAtTheLimit) {
  Open([](Config* config) {
    config->storage.shards = 4;
    config->limits.live_calls_max = 50;
  });
  Tenant* const tenant = harness_.tenant();
  std::atomic<int> stored{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 25; ++i) {
        const PutResult put = harness_.PutInput(harness_.NewId(), "x", absl::Hours(1), tenant);
        if (put.status.ok()) ++stored;
        EXPECT_LE(ledger().taken_calls(), 50);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stored, 50);
  EXPECT_EQ(ledger().live_calls(), 50);
  ExpectNothingReserved();
}

TEST_F(QuotaTest, AFullQueueRefusesABatchBeforeItIsSealed) {
  Open([](Config*) {});
  Tenant* const tenant = harness_.tenant();
  std::vector<NewPut> puts;
  for (uint64_t i = 0; i < Quota::kShardRequestsMax; ++i) {
    puts.push_back({.call_id = harness_.NewId(), .payload = MakePayload("x"), .ttl_ms = 60'000});
  }
  // The group waits for the disk, so that nothing of it is answered.
  Gate gate;
  harness_.hooks.sync = gate.hook();
  Awaited<std::vector<PutResult>> all;
  harness_.store()->Put(tenant, std::move(puts), all.callback());
  const PutResult refused = harness_.PutInput(harness_.NewId(), "y");
  EXPECT_EQ(ReasonOf(refused.status), Reason::kOverloaded) << refused.status;
  const EndResult deleted = harness_.Delete(harness_.NewId());
  EXPECT_EQ(ReasonOf(deleted.status), Reason::kOverloaded) << deleted.status;
  gate.Open();
  for (const PutResult& put : all.Get()) ASSERT_TRUE(put.status.ok()) << put.status;
  EXPECT_TRUE(harness_.PutInput(harness_.NewId(), "y").status.ok());
  ExpectNothingReserved();
}

}  // namespace
}  // namespace mayfly
