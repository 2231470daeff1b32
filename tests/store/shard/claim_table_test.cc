// The claim table by itself: no store, no thread, and time as the test says.
#include "store/shard/claim_table.h"

#include <optional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "store/shard/call_key.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr int64_t kClaimStartMs = 1'000;

class ClaimTableTest : public testing::Test {
 protected:
  std::optional<Claim> Made(uint64_t fence, int64_t lease_ms = 30'000) const {
    return Claim{
        .fence = fence, .claimed_ms = kClaimStartMs, .lease_end_ms = kClaimStartMs + lease_ms};
  }
  void Claims(uint8_t call, uint64_t fence, int64_t lease_ms = 30'000) {
    table_.Add(KeyOf(call), *Made(fence, lease_ms), ledger_.TakeClaim());
  }
  std::vector<CallKey> LapsedAt(int64_t after_ms) {
    return table_.TakeLapsed({.elapsed_ms = kClaimStartMs + after_ms});
  }

  TenantLedger ledger_{{.claims_max = 100}};
  ClaimTable table_{kClaimStartMs};
  // Holders are compared and never followed.
  const Claimant* const anna_ = reinterpret_cast<const Claimant*>(&ledger_);
  const Claimant* const bert_ = reinterpret_cast<const Claimant*>(&table_);
};

TEST_F(ClaimTableTest, HasOneClaimOfACallAndCountsItsTenants) {
  EXPECT_EQ(table_.Find(KeyOf(1)), nullptr);
  Claims(1, 7);
  Claims(2, 8);
  EXPECT_EQ(table_.Find(KeyOf(1))->fence, 7u);
  EXPECT_EQ(ledger_.claims(), 2);
  // Another claim of the same call takes the place of the one before.
  Claims(1, 9);
  EXPECT_EQ(table_.Find(KeyOf(1))->fence, 9u);
  EXPECT_EQ(ledger_.claims(), 2);
}

TEST_F(ClaimTableTest, SaysWhenACallHasNoClaimAnyMore) {
  EXPECT_FALSE(table_.Update(KeyOf(1), std::nullopt, std::nullopt)) << "it never had one";
  Claims(1, 7);
  EXPECT_TRUE(table_.Update(KeyOf(1), Made(7), std::nullopt));
  EXPECT_EQ(table_.size(), 0u);
  EXPECT_EQ(ledger_.claims(), 0);
  EXPECT_FALSE(table_.has_timers());
}

TEST_F(ClaimTableTest, ALeaseRunsOutAtItsEndAndNotBefore) {
  Claims(1, 7, 5'000);
  Claims(2, 8, 10'000);
  EXPECT_THAT(LapsedAt(4'999), IsEmpty());
  EXPECT_THAT(LapsedAt(5'100), ElementsAre(KeyOf(1)));
  EXPECT_EQ(table_.Find(KeyOf(1)), nullptr);
  EXPECT_EQ(ledger_.claims(), 1);
  EXPECT_THAT(LapsedAt(10'100), ElementsAre(KeyOf(2)));
}

TEST_F(ClaimTableTest, ARenewedLeaseRunsOutAtItsNewEnd) {
  Claims(1, 7, 5'000);
  EXPECT_FALSE(table_.Update(KeyOf(1), Made(7, 5'000), Made(7, 20'000)));
  EXPECT_THAT(LapsedAt(19'900), IsEmpty());
  EXPECT_THAT(LapsedAt(20'100), ElementsAre(KeyOf(1)));
}

TEST_F(ClaimTableTest, ALeaseBeyondTheWheelRunsOutAllTheSame) {
  constexpr int64_t kDayMs = 86'400'000;
  Claims(1, 7, kDayMs);
  for (int64_t ms = 0; ms < kDayMs; ms += 600'000) EXPECT_THAT(LapsedAt(ms), IsEmpty());
  EXPECT_THAT(LapsedAt(kDayMs + 100), ElementsAre(KeyOf(1)));
}

TEST_F(ClaimTableTest, TheEndOfAHolderEndsItsClaimsAlone) {
  for (uint8_t call = 1; call <= 4; ++call) Claims(call, call);
  for (uint8_t call = 1; call <= 3; ++call) table_.SetHolder(KeyOf(call), anna_);
  table_.SetHolder(KeyOf(3), bert_);  // with the same token
  EXPECT_THAT(table_.EndClaimsOf(anna_), UnorderedElementsAre(KeyOf(1), KeyOf(2)));
  EXPECT_THAT(table_.EndClaimsOf(anna_), IsEmpty());
  EXPECT_EQ(ledger_.claims(), 2);
  // A claim that has ended is not its holder's any more.
  EXPECT_TRUE(table_.Update(KeyOf(3), Made(3), std::nullopt));
  EXPECT_THAT(table_.EndClaimsOf(bert_), IsEmpty());
}

TEST_F(ClaimTableTest, NotesTheChecksumOfTheClaimThatItWasSentUnder) {
  Claims(1, 7);
  table_.NoteSent({.key = KeyOf(1), .fence = 6, .crc32c = 1});
  table_.NoteSent({.key = KeyOf(2), .fence = 7, .crc32c = 1});
  EXPECT_FALSE(table_.Find(KeyOf(1))->crc32c.has_value());
  table_.NoteSent({.key = KeyOf(1), .fence = 7, .crc32c = 42});
  EXPECT_EQ(table_.Find(KeyOf(1))->crc32c, 42u);
}

}  // namespace
}  // namespace mayfly
