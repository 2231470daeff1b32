#include "client/deadline_set.h"

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mayfly::client {
namespace {

using ::testing::ElementsAre;
using Set = DeadlineSet<std::string>;

absl::Duration At(int ms) { return absl::Milliseconds(ms); }

// All that are due, one by one, as Deadlines take them.
std::vector<std::string> TakeAllDue(Set* set, absl::Duration now) {
  std::vector<std::string> taken;
  while (std::optional<std::string> value = set->TakeDue(now)) taken.push_back(*value);
  return taken;
}

TEST(DeadlineSetTest, TakesWhatIsDueInTheOrderOfDeadlines) {
  Set set;
  set.Add(At(30), "c");
  set.Add(At(10), "a");
  set.Add(At(40), "d");
  set.Add(At(20), "b");
  EXPECT_EQ(set.Earliest(), At(10));
  EXPECT_EQ(set.TakeDue(At(9)), std::nullopt);
  EXPECT_THAT(TakeAllDue(&set, At(30)), ElementsAre("a", "b", "c"));
  EXPECT_EQ(set.Earliest(), At(40));
  EXPECT_EQ(*set.First(), "d");
  EXPECT_THAT(TakeAllDue(&set, At(40)), ElementsAre("d"));
  EXPECT_EQ(set.Earliest(), absl::InfiniteDuration());
  EXPECT_EQ(set.First(), nullptr);
}

TEST(DeadlineSetTest, TakesEqualDeadlinesInTheOrderInWhichTheyWereAdded) {
  Set set;
  for (const char* const value : {"first", "second", "third"}) set.Add(At(5), value);
  EXPECT_THAT(TakeAllDue(&set, At(5)), ElementsAre("first", "second", "third"));
}

TEST(DeadlineSetTest, RemovesOneOfEqualDeadlines) {
  Set set;
  set.Add(At(5), "first");
  const Set::Key second = set.Add(At(5), "second");
  set.Add(At(5), "third");
  EXPECT_TRUE(set.Remove(second));
  EXPECT_FALSE(set.Remove(second));
  EXPECT_THAT(TakeAllDue(&set, At(5)), ElementsAre("first", "third"));
}

TEST(DeadlineSetTest, AKeyOfAnEntryThatWasTakenRemovesNothing) {
  Set set;
  const Set::Key key = set.Add(At(5), "first");
  ASSERT_EQ(set.TakeDue(At(5)), "first");
  set.Add(At(5), "second");
  EXPECT_FALSE(set.Remove(key));
  EXPECT_EQ(set.size(), 1);
}

TEST(DeadlineSetTest, WhatIsRemovedBetweenTwoThatAreDueIsNotTaken) {
  Set set;
  set.Add(At(1), "first");
  const Set::Key second = set.Add(At(2), "second");
  set.Add(At(3), "third");
  EXPECT_EQ(set.TakeDue(At(9)), "first");
  set.Remove(second);  // as the callback of the first may do
  EXPECT_EQ(set.TakeDue(At(9)), "third");
}

// Counts moves. A set that kept its values in one array, or rebuilt itself, would move thousands.
struct Counted {
  explicit Counted(int its_id, int* moves_of_all) : id(its_id), moves(moves_of_all) {}
  Counted(Counted&& other) noexcept : id(other.id), moves(other.moves) { ++*moves; }
  Counted& operator=(Counted&& other) noexcept {
    id = other.id;
    moves = other.moves;
    ++*moves;
    return *this;
  }
  int id;
  int* moves;
};

TEST(DeadlineSetTest, TouchesOnlyANeighbourhoodOfWhatIsDueAmongTenThousand) {
  constexpr int kEntries = 10'000;
  constexpr int kDueId = 6'789;
  constexpr int kMovesMax = 200;  // a few nodes of the tree
  int moves = 0;
  DeadlineSet<Counted> set;
  for (int id = 0; id < kEntries; ++id) {
    set.Add(id == kDueId ? At(1) : At(100 + id % 97), Counted(id, &moves));
  }
  moves = 0;
  const std::optional<Counted> due = set.TakeDue(At(1));
  ASSERT_TRUE(due.has_value());
  EXPECT_EQ(due->id, kDueId);
  EXPECT_FALSE(set.TakeDue(At(99)).has_value());
  EXPECT_LT(moves, kMovesMax);
  EXPECT_EQ(set.size(), kEntries - 1);
}

}  // namespace
}  // namespace mayfly::client
