// What storage.h promises of rows, secrets, segments, uploads and records, on every engine.
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/engine.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr int64_t kHourMs = 3'600'000;

class ConformanceTest : public EngineTest {
 protected:
  std::vector<SlotLease> Reserve(size_t count) {
    auto leases = storage_->ReserveSlots(count);
    EXPECT_TRUE(leases.ok()) << leases.status();
    return *std::move(leases);
  }
  absl::StatusCode ReadRow(const TestPayload& payload) {
    const PayloadRef ref = payload.ref();
    return storage_->ReadRows({&ref, 1})[0].status().code();
  }
  StoredUpload NewUpload(uint8_t id, const SlotLease& lease, const CallKey& key = TestKey(1)) {
    StoredUpload upload = {.id = {id}, .key = key, .kind = PayloadKind::kOutput};
    upload.payload = {.slot = lease.ref,
                      .attempt = 2,
                      .size_bytes = 12'345,
                      .stored_ms = kTestNowMs,
                      .deadline_ms = kTestNowMs + kHourMs};
    upload.metadata = Sealed::CopyOf(AsBytes("metadata"));
    return upload;
  }
  std::vector<StoredUpload> LoadUploads() {
    auto uploads = storage_->LoadUploads();
    EXPECT_TRUE(uploads.ok()) << uploads.status();
    return *std::move(uploads);
  }
};

INSTANTIATE_TEST_SUITE_P(Engines, ConformanceTest, AllEngines(), NameOfEngine);

// ---- Rows and slots

TEST_P(ConformanceTest, GivesBackWhatWasStoredAndAfterAReopenToo) {
  const TestPayload input = Put({.key = TestKey(1)});
  const TestPayload output = PutOutput(TestKey(1), 3);
  Sync();
  for (int reopened = 0; reopened < 2; ++reopened) {
    const LoadedCall loaded = storage_.Load(TestKey(1));
    EXPECT_EQ(loaded.state.input, input.stored);
    EXPECT_EQ(loaded.state.output, output.stored);
    EXPECT_FALSE(loaded.state.tombstone || loaded.dead_input || loaded.dead_output);
    EXPECT_TRUE(storage_.IsReadable(input));
    EXPECT_TRUE(storage_.IsReadable(output));
    Reopen();
  }
}

TEST_P(ConformanceTest, KeepsEqualIdsOfTwoTenantsApart) {
  const TestPayload mine = Put({.key = TestKey(1, /*tenant=*/1)});
  EXPECT_EQ(storage_.Load(TestKey(1, /*tenant=*/2)).state, CallState());
  const TestPayload theirs = Put({.key = TestKey(1, /*tenant=*/2)});
  ASSERT_TRUE(storage_.Ack(theirs.key).ok());
  EXPECT_TRUE(storage_.IsReadable(mine));
}

TEST_P(ConformanceTest, LeavesATombstoneAndNothingElseOfAnAckedCall) {
  const TestPayload input = Put({.key = TestKey(1)});
  const TestPayload output = PutOutput(TestKey(1), 1);
  ASSERT_TRUE(storage_.Ack(TestKey(1)).ok());
  for (int reopened = 0; reopened < 2; ++reopened) {
    const LoadedCall loaded = storage_.Load(TestKey(1));
    EXPECT_FALSE(loaded.state.input || loaded.state.output);
    ASSERT_TRUE(loaded.state.tombstone.has_value());
    EXPECT_EQ(loaded.state.tombstone->input, input.stored.slot);
    EXPECT_EQ(loaded.state.tombstone->output, output.stored.slot);
    EXPECT_EQ(storage_->ReadSecret(output.stored.slot).status().code(),
              absl::StatusCode::kNotFound);
    const PayloadRef ref = output.ref();
    EXPECT_EQ(storage_->ReadRows({&ref, 1})[0].status().code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(AllDue().size(), 0u);
    Reopen();
  }
}

TEST_P(ConformanceTest, TellsErasedRowsFromThoseNeverStored) {
  const TestPayload erased = Put({.key = TestKey(1)});
  const TestPayload dead = Put({.key = TestKey(2)});
  ASSERT_TRUE(storage_->Erase({{erased.stored.slot, dead.stored.slot}}).ok());
  Sync();
  // The second slot now serves another, as if its write had been lost.
  while (storage_->StateOf(dead.stored.slot) == SlotState::kErased) {
    ASSERT_TRUE(Put({.key = TestKey(100)}).stored.slot.generation > 0);
  }
  for (int reopened = 0; reopened < 2; ++reopened) {
    if (storage_->StateOf(erased.stored.slot) == SlotState::kErased) {
      StoredPayload expected = erased.stored;
      expected.erased = true;
      EXPECT_EQ(storage_.Load(TestKey(1)).state.input, expected);
    }
    const LoadedCall loaded = storage_.Load(TestKey(2));
    EXPECT_FALSE(loaded.state.input.has_value());
    EXPECT_EQ(loaded.dead_input, dead.stored);
    Reopen();
  }
}

TEST_P(ConformanceTest, ReplacesARowWithItsDueRow) {
  const TestPayload first = PutOutput(TestKey(1), 1);
  const TestPayload second = PutOutput(TestKey(1), 2);  // due in the same second
  const TestPayload third = Put(
      {.key = TestKey(1), .kind = PayloadKind::kOutput, .attempt = 3, .deadline_ms = kTestNowMs});
  EXPECT_EQ(storage_.Load(TestKey(1)).state.output, third.stored);
  EXPECT_FALSE(storage_.IsReadable(first));
  EXPECT_FALSE(storage_.IsReadable(second));
  EXPECT_TRUE(storage_.IsReadable(third));
  EXPECT_EQ(AllDue().size(), 1u);
  // Rows that RocksDB still held twice would come up once the last one is removed.
  ASSERT_TRUE(storage_.End(TestKey(1), EndReason::kDeleted).ok());
  ASSERT_TRUE(storage_->Maintain(kTestNowMs + kHourMs).ok());
  Reopen();
  EXPECT_FALSE(storage_.Load(TestKey(1)).state.output.has_value());
  EXPECT_EQ(AllDue().size(), 0u);
}

TEST_P(ConformanceTest, TakesDeadRowsOutWhenAnotherTakesTheirPlace) {
  const TestPayload dead =
      Put({.key = TestKey(1), .deadline_ms = kTestNowMs + 1000, .segment_count = 2});
  ASSERT_TRUE(storage_->Erase({{dead.stored.slot}}).ok());
  Sync();
  TestPayload other;
  for (uint32_t i = 100; storage_->StateOf(dead.stored.slot) == SlotState::kErased; ++i) {
    other = Put({.key = TestKey(i)});
    ASSERT_TRUE(storage_.Ack(other.key).ok());
  }
  ASSERT_TRUE(storage_.Load(TestKey(1)).dead_input.has_value());
  const TestPayload next = Put({.key = TestKey(1)});
  EXPECT_EQ(storage_.Load(TestKey(1)).state.input, next.stored);
  EXPECT_FALSE(storage_.Load(TestKey(1)).dead_input.has_value());
  EXPECT_EQ(AllDue().size(), 1u);
  EXPECT_FALSE(storage_->ReadSegment(TestKey(1), dead.stored.slot, 1).ok());
  ASSERT_TRUE(storage_.End(TestKey(1), EndReason::kDeleted).ok());
  Reopen();
  EXPECT_FALSE(storage_.Load(TestKey(1)).state.input.has_value());
}

// Two operations of one group: the second replaces what the first has stored.
TEST_P(ConformanceTest, AppliesSeveralChangesOfOneCallInOneCommit) {
  const LoadedCall loaded = storage_.Load(TestKey(1));
  auto leases = storage_->ReserveSlots(2);
  ASSERT_TRUE(leases.ok());
  StoredPayload payloads[2];
  Effects effects[2];
  const Sealed row = Sealed::CopyOf(AsBytes("ciphertext"));
  std::vector<CallChange> changes;
  for (size_t i = 0; i < 2; ++i) {
    payloads[i] = {.slot = (*leases)[i].ref,
                   .attempt = static_cast<uint32_t>(i + 1),
                   .deadline_ms = kTestNowMs + static_cast<int64_t>(i)};
    effects[i].store = PayloadKind::kOutput;
    if (i == 1) effects[i].remove_output = payloads[0];
    changes.push_back({.key = TestKey(1),
                       .effects = effects[i],
                       .loaded = &loaded,
                       .payload = payloads[i],
                       .secret = &(*leases)[i].secret,
                       .row = &row});
  }
  ASSERT_TRUE(storage_->Commit(0, changes, {}).ok());
  for (int reopened = 0; reopened < 2; ++reopened) {
    EXPECT_EQ(storage_.Load(TestKey(1)).state.output, payloads[1]);
    EXPECT_EQ(AllDue().size(), 1u);
    Reopen();
  }
  ASSERT_TRUE(storage_.End(TestKey(1), EndReason::kDeleted).ok());
  EXPECT_FALSE(storage_.Load(TestKey(1)).state.output.has_value());
}

TEST_P(ConformanceTest, RefusesRowsOfAnotherGeneration) {
  const TestPayload payload = Put({.key = TestKey(1)});
  PayloadRef ref = payload.ref();
  ++ref.slot.generation;
  EXPECT_EQ(storage_->ReadRows({&ref, 1})[0].status().code(), absl::StatusCode::kNotFound);
}

TEST_P(ConformanceTest, RemovesSegmentsWithTheirRow) {
  const TestPayload large = Put({.key = TestKey(1), .segment_count = 3});
  EXPECT_TRUE(storage_.IsReadable(large));
  ASSERT_TRUE(storage_.End(TestKey(1), EndReason::kConsumed).ok());
  for (uint32_t number = 0; number < 3; ++number) {
    EXPECT_EQ(storage_->ReadSegment(TestKey(1), large.stored.slot, number).status().code(),
              absl::StatusCode::kNotFound);
  }
}

TEST_P(ConformanceTest, RemovesTheSegmentsOfARefusedUpload) {
  auto leases = storage_->ReserveSlots(1);
  ASSERT_TRUE(leases.ok());
  const SlotRef slot = leases->front().ref;
  const Sealed segment = Sealed::CopyOf(AsBytes("segment"));
  for (uint32_t number : {0, 1}) {
    ASSERT_TRUE(storage_->WriteSegment(TestKey(1), slot, number, segment).ok());
  }
  ASSERT_TRUE(storage_->RemoveSegments({.key = TestKey(1), .slot = slot, .count = 2}).ok());
  EXPECT_FALSE(storage_->ReadSegment(TestKey(1), slot, 0).ok());
  EXPECT_FALSE(storage_->ReadSegment(TestKey(1), slot, 1).ok());
  storage_->ReturnSlots({{slot}});
}

TEST_P(ConformanceTest, ListsWhatIsDueInOrderWithinItsBounds) {
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
  EXPECT_THAT(seconds, testing::ElementsAre(85, 86, 87, 88, 89, 90, 91, 91, 92));
}

TEST_P(ConformanceTest, GivesEveryTenantItsNumberForEver) {
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

TEST_P(ConformanceTest, KeepsUsagePerShardAndSumsItOverAll) {
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

TEST_P(ConformanceTest, ReplacesTheTimeRecordAsAWhole) {
  EXPECT_FALSE(storage_->LoadTimeRecord()->has_value());
  ASSERT_TRUE(storage_->SaveTimeRecord("a longer record").ok());
  ASSERT_TRUE(storage_->SaveTimeRecord("short").ok());
  Reopen();
  EXPECT_EQ(**storage_->LoadTimeRecord(), "short");
}

TEST_P(ConformanceTest, CountsUpItsBoots) {
  const uint64_t first = storage_->boot_number();
  Reopen();
  EXPECT_GT(storage_->boot_number(), first);
}

}  // namespace
}  // namespace mayfly
