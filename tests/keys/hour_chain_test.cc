#include "keys/hour_chain.h"

#include <array>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "crypto/hmac.h"

namespace mayfly {
namespace {

SecretBytes FirstKey() { return SecretBytes(std::vector<uint8_t>(kHourKeySize, 7)); }

using SavedLeaf = std::array<uint8_t, HmacKey::kSavedSize>;

std::string LeafOf(HourChain* chain, uint32_t second) {
  SavedLeaf leaf;
  chain->CopyLeaf(second, leaf.data());
  return std::string(AsText(leaf));
}

std::string Saved(absl::string_view leaf) {
  SavedLeaf saved;
  HmacKey(AsBytes(leaf)).SaveTo(saved.data());
  return std::string(AsText(saved));
}

// RFC 5869 section 2.3, of one block: T(1) = HMAC-Hash(PRK, info | 0x01).
std::string ExpandBySpecification(absl::string_view key, absl::string_view info) {
  const std::string block = std::string(info) + '\x01';
  return std::string(AsText(HmacSha256Of(HmacKey(AsBytes(key)), {AsBytes(block)})));
}

TEST(HourChainTest, IsTheChainOfTheSpecification) {
  HourChain chain(FirstKey(), 0);
  std::string key(kHourKeySize, 7);
  for (uint32_t second = 0; second < kSecondsPerHour; ++second) {
    ASSERT_EQ(LeafOf(&chain, second), Saved(ExpandBySpecification(key, "mayfly second v1")))
        << second;
    key = ExpandBySpecification(key, "mayfly next second v1");
  }
}

TEST(HourChainTest, GivesLeavesInAnyOrder) {
  HourChain in_order(FirstKey(), 0);
  std::vector<std::string> leaves;
  for (uint32_t second = 0; second < 20; ++second) leaves.push_back(LeafOf(&in_order, second));
  HourChain chain(FirstKey(), 0);
  for (const uint32_t second : {17, 3, 3, 19, 0}) EXPECT_EQ(LeafOf(&chain, second), leaves[second]);
}

// What was asked for before a second is closed must not change what is given afterwards.
TEST(HourChainTest, GivesTheSameLeavesWhereverItIsClosed) {
  for (const uint32_t asked : {0, 4, 5, 6, 30}) {
    for (const uint32_t closed : {1, 5, 6, 31}) {
      HourChain all(FirstKey(), 0);
      HourChain chain(FirstKey(), 0);
      LeafOf(&chain, asked);
      chain.CloseBefore(closed);
      EXPECT_EQ(chain.first_open(), closed);
      for (const uint32_t second : {closed, closed + 1, 40u, 3599u}) {
        EXPECT_EQ(LeafOf(&chain, second), LeafOf(&all, second)) << asked << " " << closed;
      }
      HourChain opened(SecretBytes(chain.key().ExposeBytes()), closed);
      EXPECT_EQ(LeafOf(&opened, closed + 9), LeafOf(&all, closed + 9));
    }
  }
}

TEST(HourChainTest, NeverGoesBack) {
  HourChain chain(FirstKey(), 0);
  chain.CloseBefore(10);
  const std::string key(AsText(chain.key().ExposeBytes()));
  chain.CloseBefore(9);
  chain.CloseBefore(10);
  EXPECT_EQ(chain.first_open(), 10u);
  EXPECT_EQ(AsText(chain.key().ExposeBytes()), key);
  SavedLeaf leaf;
  EXPECT_DEATH(chain.CopyLeaf(9, leaf.data()), "open second");
}

TEST(HourChainTest, HasNothingLeftAtTheEndOfItsHour) {
  HourChain chain(FirstKey(), 3598);
  LeafOf(&chain, 3599);
  chain.CloseBefore(3600);
  EXPECT_EQ(chain.first_open(), kSecondsPerHour);
  EXPECT_TRUE(chain.key().empty());
}

}  // namespace
}  // namespace mayfly
