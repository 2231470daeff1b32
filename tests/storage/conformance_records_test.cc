// What storage.h promises of what is due, of records, of room and of failure, on every engine.
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/engine.h"
#include "storage/storage_error.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;

class RecordsTest : public EngineTest {};
INSTANTIATE_TEST_SUITE_P(Engines, RecordsTest, AllEngines(), NameOfEngine);

TEST_P(RecordsTest, ListsWhatIsDueInOrderWithinItsBounds) {
  for (uint32_t i = 0; i < 20; ++i) {
    Put({.key = TestKey(i), .deadline_ms = (100 - static_cast<int64_t>(i)) * 1000});
  }
  // Due at 81 to 100; a deadline within a second is due at its end.
  Put({.key = TestKey(50), .deadline_ms = 90'001});
  std::vector<int64_t> seconds;
  std::optional<DuePayload> after;
  while (true) {
    const auto due = storage_->Due(85, 92, 3, after);
    ASSERT_TRUE(due.ok());
    for (const DuePayload& payload : *due) seconds.push_back(payload.due_s);
    if (due->size() < 3) break;
    after = due->back();
  }
  EXPECT_THAT(seconds, ElementsAre(85, 86, 87, 88, 89, 90, 91, 91, 92));
}

TEST_P(RecordsTest, GivesEveryTenantItsNumberForEver) {
  const auto acme = storage_->ResolveTenant("acme", 1000);
  const auto other = storage_->ResolveTenant("other", 2000);
  ASSERT_TRUE(acme.ok() && other.ok());
  EXPECT_NE(acme->number, other->number);
  ASSERT_TRUE(storage_->UpdateTenant("acme", {.dead_before_ms = 500, .max_ttl_ms = 900}).ok());
  ASSERT_TRUE(storage_->UpdateTenant("acme", {.dead_before_ms = 400, .max_ttl_ms = 950}).ok());
  EXPECT_EQ(storage_->UpdateTenant("nobody", {}).code(), absl::StatusCode::kNotFound);
  Reopen();
  const auto again = storage_->ResolveTenant("acme", 7777);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->number, acme->number);
  EXPECT_EQ(again->dead_before_ms, 500);  // only rises
  EXPECT_EQ(again->max_ttl_ms, 950);
  const auto third = storage_->ResolveTenant("third", 1);
  ASSERT_TRUE(third.ok());
  EXPECT_GT(third->number, std::max(acme->number, other->number));
  EXPECT_EQ(storage_->Tenants()->size(), 3u);
}

TEST_P(RecordsTest, KeepsUsagePerShardAndSumsItOverAll) {
  const TenantUsage first[] = {{.tenant = TenantNumber{1}, .live_calls = 5, .live_bytes = 50},
                               {.tenant = TenantNumber{2}, .live_calls = 1, .live_bytes = 10}};
  const TenantUsage second[] = {{.tenant = TenantNumber{1}, .live_calls = 2, .live_bytes = 20}};
  ASSERT_TRUE(storage_->Commit(0, {}, second).ok());
  ASSERT_TRUE(storage_->Commit(0, {}, first).ok());
  ASSERT_TRUE(storage_->Commit(7, {}, second).ok());
  Reopen();
  const auto all = storage_->LoadUsage();
  ASSERT_TRUE(all.ok());
  ASSERT_EQ(all->size(), 2u);
  EXPECT_EQ((*all)[0].live_calls, 7);
  EXPECT_EQ((*all)[0].live_bytes, 70);
  EXPECT_EQ((*all)[1].live_bytes, 10);
  const auto shard = storage_->LoadUsage(7);
  ASSERT_TRUE(shard.ok());
  ASSERT_EQ(shard->size(), 1u);
  EXPECT_EQ((*shard)[0].live_calls, 2);
}

TEST_P(RecordsTest, ReplacesTheTimeRecordAsAWhole) {
  EXPECT_FALSE(storage_->LoadTimeRecord()->has_value());
  ASSERT_TRUE(storage_->SaveTimeRecord("a longer record").ok());
  ASSERT_TRUE(storage_->SaveTimeRecord("short").ok());
  Reopen();
  EXPECT_EQ(**storage_->LoadTimeRecord(), "short");
}

TEST_P(RecordsTest, VisitsEveryPayloadAsDueTellsIt) {
  for (uint32_t i = 0; i < 50; ++i) {
    Put({.key = TestKey(i), .deadline_ms = kTestNowMs + 100 * static_cast<int64_t>(i)});
  }
  ASSERT_TRUE(storage_.Ack(TestKey(3)).ok());
  std::set<std::pair<uint64_t, int64_t>> due;
  std::set<std::pair<uint64_t, int64_t>> visited;
  for (const DuePayload& payload : AllDue()) {
    due.insert({payload.slot.generation, payload.due_s});
  }
  ASSERT_TRUE(storage_
                  ->VisitPayloads([&](const DuePayload& payload) {
                    visited.insert({payload.slot.generation, payload.due_s});
                    // Nothing is held meanwhile.
                    EXPECT_TRUE(storage_.Load(payload.key).state.input.has_value());
                  })
                  .ok());
  EXPECT_EQ(visited.size(), 49u);
  EXPECT_EQ(visited, due);
}

TEST_P(RecordsTest, StepsOverWhatIsDueAndCannotBeRead) {
  for (uint32_t i = 1; i <= 3; ++i) Put({.key = TestKey(i)});
  if (!storage_.DamageDueRow(TestKey(2), PayloadKind::kInput)) {
    GTEST_SKIP() << "damage_test.cc damages its files";
  }
  const uint64_t skipped = storage_->skipped();
  EXPECT_EQ(AllDue().size(), 2u);
  EXPECT_GT(storage_->skipped(), skipped);
  EXPECT_FALSE(FindOrphans().is_whole);
  EXPECT_TRUE(FindOrphans().empty());
  size_t visited = 0;
  ASSERT_TRUE(storage_->VisitPayloads([&](const DuePayload&) { ++visited; }).ok());
  EXPECT_EQ(visited, 3u);
}

TEST_P(RecordsTest, ATenantsNumberSurvivesALossOfPower) {
  const auto acme = storage_->ResolveTenant("acme", 1000);
  ASSERT_TRUE(acme.ok());
  storage_.LosePower();
  Reopen();
  EXPECT_NE(storage_->ResolveTenant("other", 1000)->number, acme->number);
  EXPECT_EQ(storage_->ResolveTenant("acme", 1000)->number, acme->number);
}

TEST_P(RecordsTest, TheIdWindowIsSyncedBeforeSavingReturns) {
  EXPECT_EQ(*storage_->LoadIdWindow(), std::nullopt);
  const IdWindowRecord record = {.window_ms = 3, .narrower_ms = 2, .floor_ms = 1};
  ASSERT_TRUE(storage_->SaveIdWindow({.window_ms = 9}).ok());
  ASSERT_TRUE(storage_->SaveIdWindow(record).ok());
  storage_.LosePower();
  Reopen();
  EXPECT_EQ(*storage_->LoadIdWindow(), record);
}

TEST_P(RecordsTest, GivesRoomToPutsAndRoomByWhichRoomComesBack) {
  EXPECT_FALSE(storage_->ReserveRoom(1000).empty());
  EXPECT_FALSE(storage_->ClaimRoom(uint64_t{1} << 50).empty());
  EXPECT_TRUE(storage_->ReserveRoom(uint64_t{1} << 60).empty());
  const absl::Status refused = storage_->RoomRefusal(uint64_t{1} << 60);
  EXPECT_EQ(ReasonOf(refused), Reason::kDiskFull);
  EXPECT_GT(RetryDelayOf(refused), absl::ZeroDuration());
}

TEST_P(RecordsTest, NothingGoesOnAfterAFailedWrite) {
  const TestPayload payload = Put({.key = TestKey(1)});
  ASSERT_TRUE(storage_->Health().ok());
  storage_.plan.FailAt(1);  // and no other
  EXPECT_EQ(ReasonOf(storage_->SaveIdWindow({})), Reason::kStorageDown);

  const auto down = [](const absl::Status& status) {
    return status.code() == absl::StatusCode::kUnavailable &&
           ReasonOf(status) == Reason::kStorageDown;
  };
  const CallKey key = TestKey(1);
  LoadedCall loaded;
  const PayloadRef ref = payload.ref();
  const SlotRef slot = payload.stored.slot;
  const TenantUsage used = {.tenant = TenantNumber{1}, .live_calls = 1};
  EXPECT_TRUE(down(storage_->Health()));
  EXPECT_EQ(KindOf(storage_->Health()), StorageErrorKind::kFailed);
  storage_->Load({&key, 1}, {&loaded, 1});
  EXPECT_TRUE(down(loaded.status));
  EXPECT_EQ(KindOf(loaded.status), StorageErrorKind::kFailed);
  loaded.status = absl::OkStatus();
  storage_->Peek({&key, 1}, {&loaded, 1});
  EXPECT_TRUE(down(loaded.status));
  EXPECT_TRUE(down(storage_->Commit(0, {}, {&used, 1})));
  EXPECT_TRUE(down(storage_->Sync()));
  EXPECT_TRUE(down(storage_->SyncRecord()));
  EXPECT_TRUE(down(storage_->SyncErasures()));
  EXPECT_TRUE(down(storage_->Erase({&slot, 1})));
  EXPECT_TRUE(down(storage_->ReadSecret(slot).status()));
  EXPECT_TRUE(down(storage_->ReadRows({&ref, 1})[0].status()));
  EXPECT_TRUE(down(storage_->ReserveSlots(1).status()));
  EXPECT_TRUE(down(storage_->ReadSegment(key, slot, 0).status()));
  EXPECT_TRUE(down(
      storage_->WriteSegment(key, slot, 0, kTestDeadlineMs, Sealed::CopyOf(AsBytes("segment")))));
  EXPECT_TRUE(down(storage_->RemoveSegments({.key = key, .slot = slot, .count = 1})));
  EXPECT_TRUE(down(storage_->LoadUploads().status()));
  EXPECT_TRUE(down(storage_->ResolveTenant("acme", 1).status()));
  EXPECT_TRUE(down(storage_->LoadUsage().status()));
  EXPECT_TRUE(down(storage_->LoadIdWindow().status()));
  EXPECT_TRUE(down(storage_->Due(0, 1, 1, std::nullopt).status()));
  EXPECT_TRUE(down(storage_->FindOrphans().status()));
  EXPECT_TRUE(down(storage_->Maintain(kTestNowMs)));
  EXPECT_TRUE(down(storage_->VisitPayloads([](const DuePayload&) {})));

  storage_.LosePower();
  Reopen();
  EXPECT_TRUE(storage_->Health().ok());
}

}  // namespace
}  // namespace mayfly
