#include "rpc/connection_table.h"

#include <string>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mayfly {
namespace {

using Decision = ConnectionTable::Decision;

constexpr ConnectionLimits kTableLimits = {
    .proven_max = 4, .unproven_max = 4, .per_address_max = 6, .per_tenant_max = 3};

class ConnectionTableTest : public ::testing::Test {
 protected:
  // A new connection, a second later, numbered from 1.
  ConnectionTable::Verdict Admit(const std::string& address) {
    now_ += absl::Seconds(1);
    return AdmitAtOnce(address);
  }
  ConnectionTable::Verdict AdmitAtOnce(const std::string& address) {
    ++last_;
    return table_.Admit(last_, {.address = address, .name = NameOf(last_)}, now_);
  }
  static std::string NameOf(int descriptor) { return absl::StrCat("ipv4:peer:", descriptor); }
  void Prove(int descriptor, const std::string& tenant) {
    table_.Prove(NameOf(descriptor), tenant);
  }

  ConnectionTable table_{kTableLimits};
  absl::Duration now_ = absl::Hours(1);
  int last_ = 0;
};

TEST_F(ConnectionTableTest, ANewConnectionTakesTheOldestPlaceOfTheAddressThatHasMost) {
  for (const char* address : {"a", "b", "b", "a", "b"}) {
    const auto verdict = Admit(address);
    EXPECT_EQ(verdict.decision, Decision::kAdmitted);
    // The fifth finds four: two of either, and a's is the oldest.
    EXPECT_EQ(verdict.evicted, last_ == 5 ? 1 : ConnectionTable::kNone);
  }
  EXPECT_EQ(Admit("c").evicted, 2);
  EXPECT_EQ(Admit("d").evicted, 3);
  EXPECT_EQ(table_.unproven_count(), 4u);
}

TEST_F(ConnectionTableTest, AYoungConnectionIsNotClosed) {
  for (int i = 0; i < 4; ++i) Admit("a");
  now_ += absl::Seconds(1);
  for (int i = 0; i < 4; ++i) EXPECT_NE(AdmitAtOnce("a").evicted, ConnectionTable::kNone);
  EXPECT_EQ(AdmitAtOnce("b").decision, Decision::kLater);
  EXPECT_EQ(table_.Evict(now_), ConnectionTable::kNone);
  EXPECT_EQ(Admit("b").evicted, 5);
}

TEST_F(ConnectionTableTest, AProvenConnectionIsNeverClosedForAnother) {
  Admit("a");
  Prove(1, "tenant");
  for (int i = 0; i < 100; ++i) EXPECT_NE(Admit("a").evicted, 1);
  EXPECT_EQ(table_.proven_count(), 1u);
  EXPECT_EQ(table_.unproven_count(), 4u);
}

TEST_F(ConnectionTableTest, AnAddressHasItsMaximum) {
  for (int i = 1; i <= 4; ++i) {
    Admit("a");
    Prove(i, i < 3 ? "tenant" : "other");
  }
  EXPECT_EQ(Admit("a").evicted, ConnectionTable::kNone);  // 5
  EXPECT_EQ(Admit("a").evicted, ConnectionTable::kNone);  // 6
  EXPECT_EQ(Admit("a").evicted, 5);
  EXPECT_EQ(Admit("b").evicted, ConnectionTable::kNone);
}

TEST_F(ConnectionTableTest, AnAddressFullOfProvenConnectionsIsRefused) {
  constexpr ConnectionLimits kNarrow = {
      .proven_max = 4, .unproven_max = 4, .per_address_max = 2, .per_tenant_max = 4};
  ConnectionTable table(kNarrow);
  for (int i = 1; i <= 2; ++i) {
    table.Admit(i, {.address = "a", .name = NameOf(i)}, now_);
    table.Prove(NameOf(i), "tenant");
  }
  const ConnectionPeer third = {.address = "a", .name = NameOf(3)};
  EXPECT_EQ(table.Admit(3, third, now_ + absl::Hours(1)).decision, Decision::kRefused);
  table.Remove(1);
  EXPECT_EQ(table.Admit(3, third, now_ + absl::Hours(1)).decision, Decision::kAdmitted);
}

TEST_F(ConnectionTableTest, WhatIsBeyondATenantsMaximumStaysUnproven) {
  for (int i = 1; i <= 4; ++i) {
    Admit(absl::StrCat("address", i));
    Prove(i, "tenant");
  }
  EXPECT_EQ(table_.proven_count(), 3u);
  Admit("other");
  Prove(5, "other");
  EXPECT_EQ(table_.proven_count(), 4u);  // all that there may be
  Admit("another");
  Prove(6, "another");
  EXPECT_EQ(table_.proven_count(), 4u);
  EXPECT_EQ(table_.unproven_count(), 2u);
  table_.Remove(1);
  Prove(4, "tenant");
  EXPECT_EQ(table_.proven_count(), 4u);
}

TEST_F(ConnectionTableTest, WhatHasEndedIsForgotten) {
  for (int round = 0; round < 100; ++round) {
    Admit("a");
    if (round % 2 == 0) Prove(last_, "tenant");
    table_.Remove(last_);
    table_.Remove(last_);
    Prove(last_, "tenant");
  }
  EXPECT_EQ(table_.proven_count(), 0u);
  EXPECT_EQ(table_.unproven_count(), 0u);
  EXPECT_FALSE(table_.has_unproven());
}

TEST(ConnectionLimitsTest, LeaveDescriptorsToFiles) {
  Config::Server config;
  for (const uint64_t descriptors : {512, 1024, 4096, 20'000, 65'536, 1 << 20}) {
    const auto limits = ConnectionLimits::For(config, descriptors);
    ASSERT_TRUE(limits.ok()) << limits.status();
    const uint64_t used = 2 * (limits->proven_max + limits->unproven_max);
    EXPECT_LE(used, descriptors - descriptors / 4);
    EXPECT_LE(used, descriptors - 256);
    EXPECT_LE(static_cast<uint64_t>(limits->descriptor_end), descriptors - 256);
    EXPECT_LE(limits->proven_max, config.connections_max);
    EXPECT_GT(limits->unproven_max, 0u);
  }
  EXPECT_EQ(ConnectionLimits::For(config, 65'536)->proven_max, config.connections_max);
}

TEST(ConnectionLimitsTest, LeaveHalfOfThePlacesToOthers) {
  Config::Server config;
  for (const uint64_t descriptors : {512, 1024, 4096, 20'000, 65'536}) {
    const auto limits = ConnectionLimits::For(config, descriptors);
    ASSERT_TRUE(limits.ok()) << limits.status();
    EXPECT_EQ(limits->per_tenant_max, limits->proven_max / 2);
    EXPECT_EQ(limits->per_address_max, limits->proven_max / 2);
  }
  config.connections_max = 100;
  EXPECT_EQ(ConnectionLimits::For(config, 65'536)->per_tenant_max, 50u);
  config.connections_per_tenant_max = 20;
  config.connections_per_address_max = 10;
  EXPECT_EQ(ConnectionLimits::For(config, 65'536)->per_tenant_max, 20u);
  EXPECT_EQ(ConnectionLimits::For(config, 65'536)->per_address_max, 10u);
  config.connections_max = 1;
  EXPECT_EQ(ConnectionLimits::For(config, 65'536)->per_tenant_max, 1u);
}

uint64_t NumberAfter(const std::string& text, const std::string& words) {
  const size_t place = text.find(words);
  if (place != std::string::npos) return std::stoull(text.substr(place + words.size()));
  ADD_FAILURE() << "no \"" << words << "\" in " << text;
  return 0;
}

TEST(ConnectionLimitsTest, ShortOfWhatIsConfiguredSayWhatToRaise) {
  Config::Server config;
  for (const uint64_t wanted : {16, 99, 100, 682, 1000, 2047, 2048, 8192, 100'000}) {
    config.connections_max = wanted;
    const std::string text = ConnectionShortage(config, *ConnectionLimits::For(config, 512), 512);
    if (wanted == 16) {
      EXPECT_EQ(text, "");
      continue;
    }
    EXPECT_THAT(text, ::testing::HasSubstr(absl::StrCat("server.connections_max is ", wanted,
                                                        ", but a limit of 512 open files")));
    const uint64_t needed = NumberAfter(text, "raise the hard limit on open files to ");
    EXPECT_EQ(ConnectionLimits::For(config, needed)->proven_max, wanted);
    EXPECT_LT(ConnectionLimits::For(config, needed - 12)->proven_max, wanted) << "not too much";
    config.connections_max = NumberAfter(text, "set server.connections_max = ");
    EXPECT_EQ(ConnectionShortage(config, *ConnectionLimits::For(config, 512), 512), "");
  }
}

TEST(ConnectionLimitsTest, RefuseAProcessThatMayOpenTooLittle) {
  const auto limits = ConnectionLimits::For(Config::Server(), 511);
  EXPECT_EQ(limits.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(limits.status().message()),
              ::testing::AllOf(::testing::HasSubstr("511"), ::testing::HasSubstr("512")));
}

}  // namespace
}  // namespace mayfly
