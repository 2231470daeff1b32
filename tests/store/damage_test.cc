// Unreadable calls among readable ones.
#include "support/damage.h"

#include <atomic>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/write_batch.h"

#include "base/error.h"
#include "keys/slot_format.h"
#include "storage/local/database.h"
#include "store/store_harness.h"

namespace mayfly {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr absl::StatusCode kDataLoss = absl::StatusCode::kDataLoss;

class DamageTest : public testing::Test {
 protected:
  void SetUp() override {
    store_.hooks.loaded = [this](absl::Span<const CallKey> keys, absl::Span<LoadedCall> loaded) {
      MutexLock lock(&mutex_);
      for (size_t i = 0; i < keys.size(); ++i) {
        if (!unreadable_.contains(keys[i].id)) continue;
        loaded[i] = LoadedCall();
        loaded[i].status = MakeError(kDataLoss, Reason::kAuthenticationFailed, "damaged");
      }
    };
    store_.hooks.returned = [this](size_t count) { returned_ += count; };
    store_.Open();
  }
  void Damage(const CallId& id) {
    MutexLock lock(&mutex_);
    unreadable_.insert(id);
  }
  size_t LiveSlots() {
    const std::string content = ReadRaw(store_.data_dir() + "/keys/slots");
    size_t count = 0;
    for (uint32_t slot = 0; OffsetOfSlot(slot) + kSlotBytes <= content.size(); ++slot) {
      SlotBytes bytes;
      std::copy_n(content.begin() + static_cast<ptrdiff_t>(OffsetOfSlot(slot)), kSlotBytes,
                  bytes.begin());
      if (DecodeSlot(slot, bytes).kind == SlotContent::Kind::kLive) ++count;
    }
    return count;
  }

  void LetPass(int minutes) {
    for (int i = 0; i < minutes; ++i) {
      store_.clock.Advance(absl::Minutes(1));
      store_.Settle();
    }
  }
  // All of them, while the store is closed.
  void RemoveDeadlines() {
    StorageHealth health(nullptr);
    const auto database = Database::Open(
        {.directory = store_.data_dir() + "/db",
         .sizes = {.memtable_bytes = uint64_t{16} << 20, .tombstone_file_ttl_s = 86400}},
        &health);
    ASSERT_TRUE(database.ok()) << database.status();
    rocksdb::ColumnFamilyHandle* const deadlines = (*database)->family(Family::kDeadlines);
    rocksdb::WriteBatch batch;
    const std::unique_ptr<rocksdb::Iterator> rows(
        (**database)->NewIterator(rocksdb::ReadOptions(), deadlines));
    for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
      batch.SingleDelete(deadlines, rows->key());
    }
    ASSERT_GT(batch.Count(), 0u);
    ASSERT_TRUE((**database)->Write(rocksdb::WriteOptions(), &batch).ok());
  }

  StoreHarness store_;
  Mutex mutex_;
  std::set<CallId> unreadable_ GUARDED_BY(mutex_);
  std::atomic<size_t> returned_{0};
};

TEST_F(DamageTest, ACallThatCannotBeReadHarmsNobodyElse) {
  const CallId bad = store_.NewId();
  const CallId good = store_.NewId();
  ASSERT_TRUE(store_.PutInput(bad, "input").status.ok());
  ASSERT_TRUE(store_.PutInput(good, "input").status.ok());
  ASSERT_TRUE(store_.PutOutput(good, "output").status.ok());
  Damage(bad);
  Awaited<std::vector<InputResult>> inputs;
  store_.store()->GetInputs(store_.tenant(), {bad, good}, 1000, inputs.callback());
  const std::vector<InputResult> got = inputs.Get();
  EXPECT_EQ(got[0].status.code(), kDataLoss);
  EXPECT_TRUE(got[1].status.ok());

  const ClaimResponse claimed = store_.Claim(StoreHarness::MakeClaim({bad, good}, 1));
  ASSERT_EQ(claimed.ended.size(), 1u);
  EXPECT_EQ(claimed.ended[0].status.code(), kDataLoss);
  ASSERT_EQ(claimed.outputs.size(), 1u);
  EXPECT_EQ(store_.Delete(bad).status.code(), kDataLoss);
  EXPECT_TRUE(store_.Ack(good, 1, claimed.outputs[0].fence).status.ok());
  EXPECT_FALSE(store_.has_failed());
}

// The retry of a put that is stored, while the disk does not read.
TEST_F(DamageTest, APutThatCannotBeComparedIsNoConflict) {
  const CallId id = store_.NewId();
  ASSERT_EQ(store_.PutInput(id, "in").status, absl::OkStatus());
  ASSERT_EQ(store_.PutOutput(id, "out").status, absl::OkStatus());
  store_.hooks.read_secret = [] {
    return MakeError(absl::StatusCode::kUnavailable, Reason::kStorageDown, "not now");
  };
  EXPECT_EQ(ReasonOf(store_.PutInput(id, "in").status), Reason::kStorageDown);
  EXPECT_EQ(ReasonOf(store_.PutOutput(id, "out").status), Reason::kStorageDown);
  store_.hooks.read_secret = nullptr;
  EXPECT_FALSE(store_.has_failed());
  EXPECT_EQ(store_.PutInput(id, "in").status, absl::OkStatus());
  EXPECT_EQ(ReasonOf(store_.PutOutput(id, "other").status), Reason::kOutputConflict);
}

TEST_F(DamageTest, WhatIsRefusedForDamageGivesItsSlotBack) {
  const CallId bad = store_.NewId();
  Damage(bad);
  for (size_t i = 1; i <= 10; ++i) {
    EXPECT_EQ(store_.PutInput(bad, "input").status.code(), kDataLoss);
    EXPECT_EQ(returned_, i);
  }
  EXPECT_EQ(store_.BeginUpload({.call_id = bad, .ttl_ms = 1000}).status().code(), kDataLoss);
  EXPECT_EQ(returned_, 11u);
}

TEST_F(DamageTest, APollThatWaitsForACallThatCannotBeReadIsTold) {
  const CallId id = store_.NewId();
  ASSERT_TRUE(store_.PutInput(id, "input").status.ok());
  Damage(id);
  ClaimRequest request = StoreHarness::MakeClaim({id}, 1);
  request.wait_ms = 60'000;
  const ClaimResponse claimed = store_.Claim(std::move(request));
  ASSERT_EQ(claimed.ended.size(), 1u);
  EXPECT_EQ(claimed.ended[0].status.code(), kDataLoss);
}

TEST_F(DamageTest, ASecretIsErasedAtItsDeadlineThoughItsCallCannotBeRead) {
  const CallId bad = store_.NewId();
  ASSERT_TRUE(store_.PutInput(bad, "input", absl::Minutes(1)).status.ok());
  ASSERT_TRUE(store_.PutInput(store_.NewId(), "input").status.ok());
  Damage(bad);
  store_.clock.Advance(absl::Seconds(59));
  store_.Settle();
  EXPECT_EQ(LiveSlots(), 2u);
  store_.clock.Advance(absl::Seconds(3));
  store_.Settle();
  EXPECT_EQ(LiveSlots(), 1u);
  EXPECT_EQ(store_.GetInput(bad).status.code(), kDataLoss);
}

TEST_F(DamageTest, AClaimOfAnOutputWhoseRowCannotBeReadIsReleased) {
  store_.hooks.read_row = [] { return MakeError(kDataLoss, Reason::kAuthenticationFailed, ""); };
  const CallId id = store_.NewId();
  ASSERT_TRUE(store_.PutInput(id, "input").status.ok());
  ASSERT_TRUE(store_.PutOutput(id, "output").status.ok());
  for (uint64_t token = 1; token <= 3; ++token) {
    const ClaimResponse claimed = store_.Claim(id, token);
    ASSERT_EQ(claimed.ended.size(), 1u);
    EXPECT_EQ(claimed.ended[0].status.code(), kDataLoss);
    store_.Settle();
    EXPECT_EQ(store_.tenant()->ledger.claims(), 0);
  }
}

TEST_F(DamageTest, ADamagedSlotIsToldAndOnlyAHigherAttemptTakesItsPlace) {
  const CallId id = store_.NewId();
  ASSERT_TRUE(store_.PutInput(id, "input").status.ok());
  ASSERT_TRUE(store_.PutOutput(id, "output").status.ok());
  // The slot of the output.
  FlipBit(store_.data_dir() + "/keys/slots", OffsetOfSlot(1) + 12);
  for (uint64_t token = 1; token <= 3; ++token) {
    const ClaimResponse claimed = store_.Claim(id, token);
    ASSERT_EQ(claimed.ended.size(), 1u);
    EXPECT_EQ(claimed.ended[0].status.code(), kDataLoss);
    EXPECT_EQ(store_.tenant()->ledger.claims(), 0);
  }
  EXPECT_EQ(store_.PutOutput(id, "another").status.code(), kDataLoss);
  EXPECT_TRUE(store_.PutOutput(id, "another", 2).status.ok());
  EXPECT_EQ(store_.Claim(id, 4).outputs.size(), 1u);
}

TEST_F(DamageTest, PayloadsWhoseDeadlinesAreLostGoWithTheHourlyRound) {
  const CallId id = store_.NewId();
  ASSERT_TRUE(store_.PutInput(id, "input", absl::Minutes(30)).status.ok());
  store_.Close();
  RemoveDeadlines();
  store_.Open();
  store_.Settle();
  EXPECT_TRUE(store_.GetInput(id).status.ok());
  EXPECT_THAT(store_.log(), Contains(HasSubstr("the deadlines of 1 payloads are lost")));
  LetPass(32);
  EXPECT_EQ(store_.GetInput(id).status.code(), absl::StatusCode::kNotFound);
  LetPass(30);
  EXPECT_EQ(LiveSlots(), 0u);
  EXPECT_FALSE(store_.has_failed());
}

TEST_F(DamageTest, WhatABadBlockHidesFromTheSweepGoesWithTheHourlyRound) {
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(store_.PutInput(store_.NewId(), "input", absl::Minutes(30)).status.ok());
  }
  // A start writes what was in the log to table files.
  store_.Reopen();
  store_.Close();
  DamageBlock(store_.data_dir() + "/db", "deadlines");
  store_.Open();
  store_.Settle();
  EXPECT_EQ(LiveSlots(), 500u);
  LetPass(32);
  EXPECT_GT(LiveSlots(), 0u);
  EXPECT_LT(LiveSlots(), 500u);
  LetPass(30);
  EXPECT_EQ(LiveSlots(), 0u);
  EXPECT_FALSE(store_.has_failed());
}

}  // namespace
}  // namespace mayfly
