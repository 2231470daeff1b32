#include "base/secret_bytes.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <sys/mman.h>

#include "base/locked_memory.h"

namespace mayfly {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Matches;
using ::testing::Not;

static_assert(!std::is_copy_constructible_v<SecretBytes>);
static_assert(!std::is_copy_assignable_v<SecretBytes>);
static_assert(std::is_nothrow_move_constructible_v<SecretBytes>);

std::vector<uint8_t> Pattern(size_t size) { return std::vector<uint8_t>(size, 0xa5); }

// A freed block stays mapped; its first bytes link it to the next free one.
ByteSpan AfterTheLink(const uint8_t* block) {
  return ByteSpan(block, SecretBytes::kSizeMax).subspan(sizeof(void*));
}

TEST(SecretBytes, HoldsWhatItWasGiven) {
  const std::vector<uint8_t> bytes = {1, 2, 3};
  const SecretBytes secret{ByteSpan(bytes)};
  EXPECT_THAT(secret.ExposeBytes(), ElementsAre(1, 2, 3));
  EXPECT_EQ(secret.size(), 3);
  EXPECT_FALSE(secret.empty());
}

TEST(SecretBytes, StartsAsZeroes) {
  EXPECT_THAT(SecretBytes(32).ExposeBytes(), Each(0));
  EXPECT_TRUE(SecretBytes().empty());
  EXPECT_TRUE(SecretBytes(0).empty());
}

TEST(SecretBytes, IsWipedWhenDestroyed) {
  const uint8_t* block;
  {
    const SecretBytes secret{ByteSpan(Pattern(SecretBytes::kSizeMax))};
    block = secret.ExposeBytes().data();
    ASSERT_THAT(AfterTheLink(block), Each(0xa5));
  }
  EXPECT_THAT(AfterTheLink(block), Each(0));
  EXPECT_THAT(ByteSpan(block, sizeof(void*)), Not(Contains(0xa5)));
}

TEST(SecretBytes, MovesWithoutLeavingACopy) {
  SecretBytes from{ByteSpan(Pattern(20))};
  const uint8_t* block = from.ExposeBytes().data();
  const SecretBytes to = std::move(from);
  EXPECT_EQ(to.ExposeBytes().data(), block);
  EXPECT_TRUE(from.empty());  // NOLINT(bugprone-use-after-move): what is left is specified
}

TEST(SecretBytes, WipesWhatAnAssignmentReplaces) {
  SecretBytes secret{ByteSpan(Pattern(64))};
  const uint8_t* block = secret.ExposeBytes().data();
  secret = SecretBytes(16);
  EXPECT_THAT(AfterTheLink(block), Each(0));
  EXPECT_THAT(secret.ExposeBytes(), Each(0));
  EXPECT_EQ(secret.size(), 16);
}

TEST(SecretBytes, SharesNoBlock) {
  std::vector<SecretBytes> secrets;
  std::vector<const uint8_t*> blocks;
  for (int i = 0; i < 3000; ++i) {
    secrets.emplace_back(SecretBytes::kSizeMax);
    blocks.push_back(secrets.back().ExposeBytes().data());
  }
  std::sort(blocks.begin(), blocks.end());
  for (size_t i = 1; i < blocks.size(); ++i) {
    ASSERT_GE(blocks[i] - blocks[i - 1], static_cast<ptrdiff_t>(SecretBytes::kSizeMax));
  }
}

TEST(SecretBytes, RefusesWhatIsLongerThanAnyKey) {
  EXPECT_DEATH(SecretBytes(SecretBytes::kSizeMax + 1), "at most 64 bytes");
}

// The kernel's flags of the mapping around `address`, from /proc/self/smaps; empty without such.
std::vector<std::string> MappingFlags(const void* address) {
  std::ifstream smaps("/proc/self/smaps");
  const uintptr_t wanted = reinterpret_cast<uintptr_t>(address);
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    uintptr_t begin = 0, end = 0;
    if (sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
      inside = begin <= wanted && wanted < end;
    } else if (inside && line.rfind("VmFlags:", 0) == 0) {
      return absl::StrSplit(line, ' ', absl::SkipEmpty());
    }
  }
  return {};
}

TEST(SecretBytes, LivesInPagesThatAreLockedAndLeftOutOfCoreDumps) {
  const SecretBytes secret(32);
  const auto flags = MappingFlags(secret.ExposeBytes().data());
  if (flags.empty()) GTEST_SKIP() << "this kernel does not tell the flags of a mapping";
  EXPECT_THAT(flags, Contains("dd"));
  // Sanitizers turn mlock into nothing: look first whether it works here at all.
  void* probe = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(probe, MAP_FAILED);
  const bool mlock_succeeds = mlock(probe, 4096) == 0;
  const auto probe_flags = MappingFlags(probe);
  munmap(probe, 4096);
  if (mlock_succeeds && Matches(Contains("lo"))(probe_flags) && LockedMemory::AllIsLocked()) {
    EXPECT_THAT(flags, Contains("lo"));
  }
}

TEST(WipeMemory, OverwritesAll) {
  std::vector<uint8_t> bytes = Pattern(100);
  WipeMemory(bytes.data(), bytes.size());
  EXPECT_THAT(bytes, Each(0));
}

}  // namespace
}  // namespace mayfly
