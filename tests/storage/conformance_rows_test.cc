// What storage.h promises of rows and segments, on every engine.
#include <set>

#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/engine.h"

namespace mayfly {
namespace {

class RowsTest : public EngineTest {};
INSTANTIATE_TEST_SUITE_P(Engines, RowsTest, AllEngines(), NameOfEngine);

TEST_P(RowsTest, GivesBackWhatWasStoredAndAfterAReopenToo) {
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

TEST_P(RowsTest, KeepsEqualIdsOfTwoTenantsApart) {
  const TestPayload mine = Put({.key = TestKey(1, /*tenant=*/1)});
  EXPECT_EQ(storage_.Load(TestKey(1, /*tenant=*/2)).state, CallState());
  const TestPayload theirs = Put({.key = TestKey(1, /*tenant=*/2)});
  ASSERT_TRUE(storage_.Ack(theirs.key).ok());
  EXPECT_TRUE(storage_.IsReadable(mine));
}

TEST_P(RowsTest, LeavesATombstoneAndNothingElseOfAnAckedCall) {
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

TEST_P(RowsTest, ReplacesARowWithItsDueRow) {
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
  ASSERT_TRUE(storage_->Maintain(kTestNowMs + kTestHourMs).ok());
  Reopen();
  EXPECT_FALSE(storage_.Load(TestKey(1)).state.output.has_value());
  EXPECT_EQ(AllDue().size(), 0u);
}

TEST_P(RowsTest, TakesDeadRowsOutWhenAnotherTakesTheirPlace) {
  Reopen();  // whose lost writes nobody has removed yet
  const TestPayload dead =
      Put({.key = TestKey(1), .deadline_ms = kTestNowMs + 1000, .segment_count = 2});
  ASSERT_TRUE(storage_->Erase({{dead.stored.slot}}).ok());
  Sync();
  for (const TestPayload& other : ReuseSlot(dead.stored.slot)) {
    ASSERT_TRUE(storage_.End(other.key, EndReason::kDeleted).ok());
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
TEST_P(RowsTest, AppliesSeveralChangesOfOneCallInOneCommit) {
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

TEST_P(RowsTest, RefusesRowsOfAnotherGeneration) {
  const TestPayload payload = Put({.key = TestKey(1)});
  PayloadRef ref = payload.ref();
  ++ref.slot.generation;
  EXPECT_EQ(storage_->ReadRows({&ref, 1})[0].status().code(), absl::StatusCode::kNotFound);
}

TEST_P(RowsTest, RemovesSegmentsWithTheirRow) {
  const TestPayload large = Put({.key = TestKey(1), .segment_count = 3});
  EXPECT_TRUE(storage_.IsReadable(large));
  ASSERT_TRUE(storage_.End(TestKey(1), EndReason::kConsumed).ok());
  for (uint32_t number = 0; number < 3; ++number) {
    EXPECT_EQ(storage_->ReadSegment(TestKey(1), large.stored.slot, number).status().code(),
              absl::StatusCode::kNotFound);
  }
}

TEST_P(RowsTest, RemovesTheSegmentsOfARefusedUpload) {
  auto leases = storage_->ReserveSlots(1);
  ASSERT_TRUE(leases.ok());
  const SlotRef slot = leases->front().ref;
  const Sealed segment = Sealed::CopyOf(AsBytes("segment"));
  for (uint32_t number : {0, 1}) {
    ASSERT_TRUE(storage_->WriteSegment(TestKey(1), slot, number, kTestDeadlineMs, segment).ok());
  }
  ASSERT_TRUE(storage_->RemoveSegments({.key = TestKey(1), .slot = slot, .count = 2}).ok());
  EXPECT_FALSE(storage_->ReadSegment(TestKey(1), slot, 0).ok());
  EXPECT_FALSE(storage_->ReadSegment(TestKey(1), slot, 1).ok());
  storage_->ReturnSlots({{slot}});
}

TEST_P(RowsTest, AStartAfterAKillFindsAllThatWasWritten) {
  const TestPayload input = Put({.key = TestKey(1), .segment_count = 2});
  const TestPayload output = PutOutput(TestKey(1), 1);
  const TestPayload ended = Put({.key = TestKey(2)});
  ASSERT_TRUE(storage_.End(TestKey(2), EndReason::kDeleted).ok());
  storage_.Kill();
  Reopen();
  EXPECT_TRUE(storage_.IsReadable(input));
  EXPECT_TRUE(storage_.IsReadable(output));
  EXPECT_EQ(storage_.Load(TestKey(2)).state.tombstone->reason, EndReason::kDeleted);
  // The tombstone names its slot, which was not erased: the start has done it.
  EXPECT_EQ(storage_->StateOf(ended.stored.slot), SlotState::kErased);
}

TEST_P(RowsTest, WhatWasSyncedSurvivesALossOfPower) {
  std::vector<TestPayload> payloads;
  for (uint32_t i = 0; i < 20; ++i)
    payloads.push_back(Put({.key = TestKey(i), .segment_count = 1}));
  Sync();
  for (uint32_t i = 20; i < 40; ++i) Put({.key = TestKey(i)});  // there afterwards or not
  storage_.LosePower();
  Reopen();
  for (const TestPayload& payload : payloads) EXPECT_TRUE(storage_.IsReadable(payload));
}

// Whichever operation fails, and however much of it was done: after any loss of power.
TEST_P(RowsTest, ACommitIsThereWithAllItsRowsOrWithNone) {
  constexpr uint32_t kCalls = 5;
  bool failed = true;
  for (uint64_t k = 1; failed; ++k) {
    SCOPED_TRACE(testing::Message() << "operation " << k << " fails");
    std::vector<SlotLease> leases = Reserve(kCalls);
    std::vector<LoadedCall> loaded(kCalls);
    std::vector<CallChange> changes(kCalls);
    const Sealed row = Sealed::CopyOf(AsBytes("ciphertext"));
    for (uint32_t i = 0; i < kCalls; ++i) {
      changes[i] = {.key = TestKey(100 * static_cast<uint32_t>(k) + i), .loaded = &loaded[i]};
      changes[i].effects.store = PayloadKind::kInput;
      changes[i].payload = {.slot = leases[i].ref, .deadline_ms = kTestNowMs + kTestHourMs};
      changes[i].secret = &leases[i].secret;
      changes[i].row = &row;
    }
    const TenantUsage used = {.tenant = TenantNumber{1}, .live_calls = static_cast<int64_t>(k)};
    storage_.plan.FailAt(k, /*and_all_after=*/true);
    absl::Status status = storage_->Commit(0, changes, {&used, 1});
    if (status.ok()) status = storage_->Sync();
    failed = storage_.plan.has_failed();
    EXPECT_NE(status.ok(), failed);
    storage_.LosePower();
    Reopen();
    std::set<bool> present;
    for (const CallChange& change : changes) {
      const LoadedCall call = storage_.Load(change.key);
      // A row whose slot was lost is there, and dead.
      present.insert(call.state.input.has_value() || call.dead_input.has_value());
    }
    EXPECT_EQ(present.size(), 1u) << "some rows of the commit, but not all";
    const auto usage = storage_->LoadUsage();
    ASSERT_TRUE(usage.ok());
    EXPECT_EQ(!usage->empty() && usage->front().live_calls == static_cast<int64_t>(k),
              *present.begin());
    ASSERT_LT(k, 50u);
  }
}

TEST_P(RowsTest, GivesEachCallAStatusOfItsOwn) {
  for (uint32_t i = 0; i < 300; ++i) Put({.key = TestKey(i)});
  ASSERT_TRUE(storage_.Ack(TestKey(7)).ok());
  std::vector<CallKey> keys;
  for (uint32_t i = 0; i < 400; ++i) keys.push_back(TestKey(i));
  keys.push_back(keys[5]);  // a key may come twice
  std::vector<LoadedCall> loaded(keys.size());
  storage_->Load(keys, absl::MakeSpan(loaded));
  for (size_t i = 0; i < keys.size(); ++i) {
    EXPECT_TRUE(loaded[i].status.ok());
    EXPECT_EQ(loaded[i].state.input.has_value(), (i < 300 && i != 7) || i == 400) << i;
    EXPECT_EQ(loaded[i].state.tombstone.has_value(), i == 7) << i;
  }
  std::vector<LoadedCall> peeked(keys.size());
  storage_->Peek(keys, absl::MakeSpan(peeked));
  for (size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(peeked[i].state, loaded[i].state);
}

TEST_P(RowsTest, DamageOfACallConcernsThatCallAlone) {
  for (uint32_t i = 1; i <= 3; ++i) Put({.key = TestKey(i)});
  ASSERT_TRUE(storage_.Ack(TestKey(3)).ok());
  if (!storage_.DamageCall(TestKey(2))) GTEST_SKIP() << "damage_test.cc damages its files";
  ASSERT_TRUE(storage_.DamageCall(TestKey(3)));
  const CallKey keys[] = {TestKey(1), TestKey(2), TestKey(3), TestKey(4)};
  LoadedCall loaded[4];
  storage_->Load(keys, loaded);
  EXPECT_TRUE(loaded[0].status.ok() && loaded[0].state.input);
  EXPECT_EQ(ReasonOf(loaded[1].status), Reason::kAuthenticationFailed);
  EXPECT_EQ(loaded[2].status.code(), absl::StatusCode::kDataLoss) << "no tombstone is not known";
  EXPECT_TRUE(loaded[3].status.ok());
  EXPECT_TRUE(storage_->Health().ok());
}

}  // namespace
}  // namespace mayfly
