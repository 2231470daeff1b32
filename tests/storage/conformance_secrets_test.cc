// What storage.h promises of slots and their secrets, on every engine.
#include <set>

#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/engine.h"

namespace mayfly {
namespace {

class SecretsTest : public EngineTest {};
INSTANTIATE_TEST_SUITE_P(Engines, SecretsTest, AllEngines(), NameOfEngine);

TEST_P(SecretsTest, TellsErasedRowsFromThoseNeverStored) {
  Reopen();  // whose lost writes nobody has removed yet
  const TestPayload erased = Put({.key = TestKey(1)});
  const TestPayload dead = Put({.key = TestKey(2)});
  ASSERT_TRUE(storage_->Erase({{erased.stored.slot, dead.stored.slot}}).ok());
  Sync();
  // The second slot now serves another, as if its write had been lost.
  ReuseSlot(dead.stored.slot);
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

TEST_P(SecretsTest, CountsUpItsBoots) {
  const uint64_t first = storage_->boot_number();
  Reopen();
  EXPECT_GT(storage_->boot_number(), first);
}

TEST_P(SecretsTest, GivesAGenerationOnceAndForEver) {
  std::set<uint64_t> given;
  const auto take = [&](size_t count) {
    std::vector<SlotRef> refs;
    for (const SlotLease& lease : Reserve(count)) {
      EXPECT_TRUE(given.insert(lease.ref.generation).second) << "given before";
      refs.push_back(lease.ref);
    }
    return refs;
  };
  uint64_t boot_number = 0;
  for (int life = 0; life < 12; ++life) {
    EXPECT_GT(storage_->boot_number(), boot_number);
    boot_number = storage_->boot_number();
    storage_->ReturnSlots(take(5));
    take(3);
    given.insert(Put({.key = TestKey(static_cast<uint32_t>(life))}).stored.slot.generation);
    life % 3 == 0 ? storage_.Kill() : life % 3 == 1 ? storage_.LosePower() : storage_.Close();
    Reopen();
  }
}

TEST_P(SecretsTest, ReservedSlotsAreNobodyElses) {
  std::set<uint32_t> slots;
  std::vector<SlotRef> refs;
  for (int i = 0; i < 20; ++i) {
    for (const SlotLease& lease : Reserve(50)) {
      EXPECT_TRUE(slots.insert(lease.ref.slot).second);
      EXPECT_EQ(storage_->StateOf(lease.ref), SlotState::kNeverStored);
      EXPECT_FALSE(storage_->ReadSecret(lease.ref).ok());
      refs.push_back(lease.ref);
    }
  }
  storage_->ReturnSlots(refs);
  EXPECT_TRUE(Reserve(0).empty());
}

TEST_P(SecretsTest, ASlotIsReusedOnlyAfterASyncOfItsErasure) {
  const TestPayload erased = Put({.key = TestKey(1)});
  Sync();
  ASSERT_TRUE(storage_->Erase({{erased.stored.slot}}).ok());
  EXPECT_EQ(storage_->StateOf(erased.stored.slot), SlotState::kErased);
  for (const SlotLease& lease : Reserve(3000)) EXPECT_NE(lease.ref.slot, erased.stored.slot.slot);
}

// Or a loss of power could bring the row back, and nothing would tell that its payload has ended.
TEST_P(SecretsTest, ASlotIsReusedOnlyWhenItsRowIsGoneForGood) {
  const TestPayload erased = Put({.key = TestKey(1)});
  Sync();
  const auto slots = storage_.End(TestKey(1), EndReason::kExpired);
  ASSERT_TRUE(slots.ok());
  ASSERT_TRUE(storage_->Erase(*slots).ok());
  ASSERT_TRUE(storage_->SyncErasures().ok());
  std::vector<SlotRef> others;
  for (const SlotLease& lease : Reserve(3000)) others.push_back(lease.ref);
  for (const SlotRef other : others) EXPECT_NE(other.slot, erased.stored.slot.slot);
  storage_->ReturnSlots(others);
  Sync();
  ReuseSlot(erased.stored.slot);
}

TEST_P(SecretsTest, ARowThatCameBackIsKnownToHaveEndedAlsoWhenItsSlotIsReused) {
  for (const bool is_recorded : {true, false}) {
    SCOPED_TRACE(is_recorded);
    // Nothing is recorded before the orphans of the last start are removed.
    Reopen();
    if (is_recorded) storage_->OrphansRemoved(/*all=*/true);
    const TestPayload erased = Put({.key = TestKey(1)});
    Sync();
    Sync();
    // Its row would be back after a loss of power. Here it never left.
    ASSERT_TRUE(storage_->Erase({{erased.stored.slot}}).ok());
    ASSERT_TRUE(storage_->SyncErasures().ok());
    Reopen();
    const auto expect_ended = [&] {
      const LoadedCall loaded = storage_.Load(TestKey(1));
      EXPECT_TRUE(loaded.state.input && loaded.state.input->erased);
    };
    expect_ended();
    for (uint32_t i = 0; i < 300; ++i) Put({.key = TestKey(1000 + i)});
    Sync();
    expect_ended();
    ASSERT_TRUE(storage_.End(TestKey(1), EndReason::kExpired).ok());
    Sync();
    storage_->OrphansRemoved(/*all=*/false);
    Sync();
    if (!is_recorded) ReuseSlot(erased.stored.slot);
  }
}

TEST_P(SecretsTest, ASyncOfErasuresIsEnoughForThem) {
  const TestPayload erased = Put({.key = TestKey(1)});
  const TestPayload kept = Put({.key = TestKey(2)});
  Sync();
  ASSERT_TRUE(storage_->Erase({{erased.stored.slot}}).ok());
  ASSERT_TRUE(storage_->Erase({{erased.stored.slot}}).ok()) << "twice does no harm";
  ASSERT_TRUE(storage_->SyncErasures().ok());
  storage_.LosePower();
  Reopen();
  EXPECT_EQ(storage_->StateOf(erased.stored.slot), SlotState::kErased);
  EXPECT_TRUE(storage_.Load(TestKey(1)).state.input->erased);
  EXPECT_TRUE(storage_.IsReadable(kept));
}

TEST_P(SecretsTest, ErasingLeavesASuccessorAlone) {
  const TestPayload erased = Put({.key = TestKey(1)});
  ASSERT_TRUE(storage_->Erase({{erased.stored.slot}}).ok());
  Sync();
  const std::vector<TestPayload> others = ReuseSlot(erased.stored.slot);
  ASSERT_TRUE(storage_->Erase({{erased.stored.slot}}).ok());
  for (const TestPayload& other : others) EXPECT_TRUE(storage_.IsReadable(other));
}

TEST_P(SecretsTest, ADamagedSlotIsNotOneThatHasEnded) {
  const TestPayload damaged = Put({.key = TestKey(1)});
  const TestPayload sound = Put({.key = TestKey(2)});
  Sync();
  storage_.DamageSlot(damaged.stored.slot);
  EXPECT_EQ(storage_->StateOf(damaged.stored.slot), SlotState::kDamaged);
  EXPECT_EQ(ReasonOf(storage_->ReadSecret(damaged.stored.slot).status()),
            Reason::kAuthenticationFailed);
  const LoadedCall loaded = storage_.Load(TestKey(1));
  ASSERT_TRUE(loaded.status.ok() && loaded.state.input);
  EXPECT_TRUE(loaded.state.input->damaged);
  EXPECT_FALSE(loaded.state.input->erased);
  EXPECT_TRUE(storage_.IsReadable(sound));
  const Orphans orphans = FindOrphans();
  EXPECT_EQ(orphans.damaged_row_count, 1u);
  EXPECT_TRUE(orphans.empty()) << "evidence stays as it is";
  // It ends like others.
  ASSERT_TRUE(storage_.Ack(TestKey(1)).ok());
  EXPECT_EQ(storage_->StateOf(damaged.stored.slot), SlotState::kErased);
}

TEST_P(SecretsTest, AReplacedOutputIsErasedByTheNextStartIfNothingElseDid) {
  const TestPayload first = PutOutput(TestKey(1), 1);
  Sync();
  const TestPayload second = PutOutput(TestKey(1), 2);
  Sync();
  storage_.LosePower();
  Reopen();
  EXPECT_TRUE(storage_.IsReadable(second));
  EXPECT_EQ(storage_->StateOf(first.stored.slot), SlotState::kErased);
  EXPECT_EQ(FindOrphans().unnamed_slot_count, 0u);
}

}  // namespace
}  // namespace mayfly
