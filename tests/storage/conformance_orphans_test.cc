// What a crash leaves behind is found and removed, on every engine, and nothing else is.
#include "gtest/gtest.h"

#include "storage/engine.h"

namespace mayfly {
namespace {

class OrphansTest : public EngineTest {
 protected:
  void Remove(const Orphans& orphans) {
    ASSERT_TRUE(storage_->RemoveOrphans(0, orphans, {}).ok());
    Sync();
  }
  // A live slot without a row: a crash came between the removal's sync and the erasure, and the
  // tombstone that named the slot is lost.
  TestPayload LeaveSlotWithoutRow(const CallKey& key) {
    const TestPayload payload = Put({.key = key});
    const LoadedCall loaded = storage_.Load(key);
    Effects effects;
    effects.remove_input = loaded.state.input;
    const CallChange change = {.key = key, .effects = effects, .loaded = &loaded};
    EXPECT_TRUE(storage_->Commit(0, {&change, 1}, {}).ok());
    return payload;
  }
};

INSTANTIATE_TEST_SUITE_P(Engines, OrphansTest, AllEngines(), NameOfEngine);

TEST_P(OrphansTest, FindsNothingAmongLiveAndEndedCalls) {
  for (uint32_t i = 0; i < 100; ++i) Put({.key = TestKey(i), .segment_count = i % 3});
  for (uint32_t i = 0; i < 50; ++i) ASSERT_TRUE(storage_.Ack(TestKey(i)).ok());
  EXPECT_TRUE(FindOrphans().empty());
  Reopen();
  EXPECT_TRUE(FindOrphans().empty());
}

TEST_P(OrphansTest, FindsAndRemovesRowsWhoseSlotIsDead) {
  const TestPayload dead = Put({.key = TestKey(1), .segment_count = 2});
  const TestPayload live = Put({.key = TestKey(2), .segment_count = 2});
  ASSERT_TRUE(storage_->Erase({{dead.stored.slot}}).ok());
  const Orphans orphans = FindOrphans();
  ASSERT_EQ(orphans.rows.size(), 1u);
  EXPECT_EQ(orphans.rows[0].key, dead.key);
  EXPECT_EQ(orphans.rows[0].slot, dead.stored.slot);
  EXPECT_TRUE(orphans.slots.empty());
  Remove(orphans);
  EXPECT_TRUE(FindOrphans().empty());
  EXPECT_EQ(storage_.Load(TestKey(1)).state, CallState());
  EXPECT_FALSE(storage_->ReadSegment(dead.key, dead.stored.slot, 0).ok());
  EXPECT_TRUE(storage_.IsReadable(live));
}

TEST_P(OrphansTest, FindsAndErasesSlotsThatNoRowNames) {
  const TestPayload live = Put({.key = TestKey(1)});
  const TestPayload lost = LeaveSlotWithoutRow(TestKey(2));
  const Orphans orphans = FindOrphans();
  ASSERT_EQ(orphans.slots, std::vector<SlotRef>{lost.stored.slot});
  Remove(orphans);
  EXPECT_EQ(storage_->StateOf(lost.stored.slot), SlotState::kErased);
  EXPECT_TRUE(storage_.IsReadable(live));
  EXPECT_TRUE(FindOrphans().empty());
}

TEST_P(OrphansTest, LeavesReservedSlotsAndUploadsUnderWayAlone) {
  auto leases = storage_->ReserveSlots(2);
  ASSERT_TRUE(leases.ok());
  const SlotRef slot = (*leases)[0].ref;
  ASSERT_TRUE(
      storage_
          ->WriteSegment(TestKey(1), slot, 0, kTestDeadlineMs, Sealed::CopyOf(AsBytes("segment")))
          .ok());
  EXPECT_TRUE(FindOrphans().empty());
}

TEST_P(OrphansTest, FindsTheSegmentsOfUploadsThatACrashCutOff) {
  auto leases = storage_->ReserveSlots(2);
  ASSERT_TRUE(leases.ok());
  const SlotRef with_mark = (*leases)[0].ref;
  const SlotRef without_mark = (*leases)[1].ref;
  const Sealed segment = Sealed::CopyOf(AsBytes(std::string(10'000, 's')));
  for (uint32_t number : {0, 1, 2}) {
    ASSERT_TRUE(
        storage_->WriteSegment(TestKey(1), with_mark, number, kTestDeadlineMs, segment).ok());
  }
  ASSERT_TRUE(storage_->WriteSegment(TestKey(2), without_mark, 5, kTestDeadlineMs, segment).ok());
  const TestPayload live = Put({.key = TestKey(3), .segment_count = 2});
  ASSERT_TRUE(storage_->Sync().ok());
  Reopen();

  const Orphans orphans = FindOrphans();
  ASSERT_EQ(orphans.segments.size(), 2u);
  EXPECT_EQ(orphans.segments[0].slot, with_mark);
  EXPECT_EQ(orphans.segments[1].slot, without_mark);
  Remove(orphans);
  EXPECT_FALSE(storage_->ReadSegment(TestKey(1), with_mark, 2).ok());
  EXPECT_FALSE(storage_->ReadSegment(TestKey(2), without_mark, 5).ok());
  EXPECT_TRUE(FindOrphans().empty());
  EXPECT_TRUE(storage_.IsReadable(live));
}

// A crash between two writes would leave what is gone counted for ever.
TEST_P(OrphansTest, RowsAndUsageAreOneWrite) {
  const auto live_calls = [this] {
    const auto usage = storage_->LoadUsage(0);
    EXPECT_TRUE(usage.ok() && usage->size() == 1);
    return usage->front().live_calls;
  };
  uint64_t operations = 1;
  for (uint64_t failing = 0; failing <= operations; ++failing) {
    SCOPED_TRACE(failing);
    const TestPayload dead = Put({.key = TestKey(static_cast<uint32_t>(failing))});
    const TenantUsage before = {.tenant = TenantNumber{1}, .live_calls = 1, .live_bytes = 100};
    ASSERT_TRUE(storage_->Commit(0, {}, {{before}}).ok());
    ASSERT_TRUE(storage_->Erase({{dead.stored.slot}}).ok());
    Sync();
    const Orphans orphans = FindOrphans();
    ASSERT_EQ(orphans.rows.size(), 1u);
    const TenantUsage after = {.tenant = TenantNumber{1}};
    storage_.plan.FailAt(failing);  // 0: none, to count them
    const absl::Status removed = storage_->RemoveOrphans(0, orphans, {{after}});
    EXPECT_EQ(removed.ok(), failing == 0);
    if (failing == 0) operations = storage_.plan.operations();
    storage_.Kill();
    Reopen();
    EXPECT_EQ(storage_.Load(dead.key).state.input.has_value(), live_calls() == 1);
    ASSERT_TRUE(storage_->RemoveOrphans(0, FindOrphans(), {}).ok());
  }
}

// Its row and its segments are found by two searches.
TEST_P(OrphansTest, WhatIsFoundTwiceTakesNothingOfItsNeighbours) {
  const TestPayload live = Put({.key = TestKey(1), .segment_count = 1});
  const TestPayload dead = Put({.key = TestKey(2), .segment_count = 1});
  ASSERT_TRUE(storage_->Erase({{dead.stored.slot}}).ok());
  Sync();
  storage_.Kill();
  Reopen();
  const Orphans orphans = FindOrphans();
  EXPECT_EQ(orphans.rows.size(), 1u);
  EXPECT_EQ(orphans.segments.size(), 1u);
  ASSERT_TRUE(storage_->RemoveOrphans(0, orphans, {}).ok());
  Sync();
  Reopen();  // what was to be given back has been by then
  EXPECT_TRUE(storage_.IsReadable(live));
}

TEST_P(OrphansTest, ChecksAgainBeforeItRemoves) {
  const TestPayload dead = Put({.key = TestKey(1)});
  ASSERT_TRUE(storage_->Erase({{dead.stored.slot}}).ok());
  const TestPayload lost = LeaveSlotWithoutRow(TestKey(2));
  const Orphans orphans = FindOrphans();
  ASSERT_EQ(orphans.rows.size(), 1u);
  ASSERT_EQ(orphans.slots.size(), 1u);
  // Meanwhile another took the row's place, and the slots were freed and serve others.
  const TestPayload next = Put({.key = TestKey(1)});
  ASSERT_TRUE(storage_->Erase({{lost.stored.slot}}).ok());
  ASSERT_TRUE(storage_->Sync().ok());
  const std::vector<TestPayload> others = ReuseSlot(lost.stored.slot);
  Remove(orphans);
  // Nor does it believe what it is told of rows that are alive.
  const TestPayload live = Put({.key = TestKey(3)});
  Orphans wrong;
  wrong.rows.push_back(DueOf(live.key, live.kind, live.stored));
  wrong.segments.push_back({.key = live.key, .slot = live.stored.slot});
  Remove(wrong);
  EXPECT_TRUE(storage_.IsReadable(live));
  EXPECT_TRUE(storage_.IsReadable(next));
  for (const TestPayload& other : others) EXPECT_TRUE(storage_.IsReadable(other));
}

}  // namespace
}  // namespace mayfly
