// Random histories of every engine against a model of a few maps.
#include <algorithm>
#include <map>
#include <tuple>

#include "gtest/gtest.h"

#include "storage/engine.h"
#include "support/random_seed.h"

namespace mayfly {
namespace {

constexpr uint32_t kKeyCount = 60;

class History {
 public:
  History(const EngineKind& engine, uint64_t seed)
      : random_(seed), engine_(engine.make(seed)), storage_(*engine_) {
    EXPECT_TRUE(storage_.Open().ok());
  }

  void Step() {
    const CallKey key = TestKey(static_cast<uint32_t>(random_() % kKeyCount),
                                1 + static_cast<uint32_t>(random_() % 2));
    const uint64_t dice = random_() % 100;
    if (dice < 60) return Put(key);
    if (dice < 80) return End(key);
    if (dice < 90) return Erase(key);
    if (dice < 94) return Maintain();
    if (dice < 95) return Reopen();
    CheckDue();
  }

  void CheckAll() {
    std::vector<CallKey> keys;
    for (uint32_t number = 0; number < kKeyCount; ++number) {
      for (uint32_t tenant : {1, 2}) keys.push_back(TestKey(number, tenant));
    }
    std::vector<LoadedCall> loaded(keys.size());
    storage_->Load(keys, absl::MakeSpan(loaded));
    for (size_t i = 0; i < keys.size(); ++i) {
      CheckRow(keys[i], PayloadKind::kInput, loaded[i].state.input, loaded[i].dead_input);
      CheckRow(keys[i], PayloadKind::kOutput, loaded[i].state.output, loaded[i].dead_output);
    }
    CheckDue();
  }

 private:
  struct Row {
    TestPayload payload;
    bool erased = false;
  };
  using RowKey = std::pair<CallKey, PayloadKind>;

  void Put(const CallKey& key) {
    const PayloadKind kind = random_() % 2 == 0 ? PayloadKind::kInput : PayloadKind::kOutput;
    auto payload = storage_.Put(
        {.key = key,
         .kind = kind,
         .ciphertext_bytes = static_cast<size_t>(random_() % 3000),
         .deadline_ms = kTestNowMs + static_cast<int64_t>(random_() % 10'000),
         .segment_count = random_() % 10 == 0 ? static_cast<uint32_t>(random_() % 4) : 0});
    ASSERT_TRUE(payload.ok()) << payload.status();
    // The store above erases what was replaced.
    const auto old = rows_.find({key, kind});
    if (old != rows_.end()) {
      ASSERT_TRUE(storage_->Erase({{old->second.payload.stored.slot}}).ok());
    }
    rows_.insert_or_assign({key, kind}, Row{.payload = *payload});
    if (random_() % 4 == 0) {
      ASSERT_TRUE(storage_->Sync().ok());
    }
  }

  void End(const CallKey& key) {
    ASSERT_TRUE(storage_.Ack(key).ok());
    for (PayloadKind kind : {PayloadKind::kInput, PayloadKind::kOutput}) rows_.erase({key, kind});
  }

  void Erase(const CallKey& key) {
    const auto row = rows_.find({key, PayloadKind::kInput});
    if (row == rows_.end()) return;
    ASSERT_TRUE(storage_->Erase({{row->second.payload.stored.slot}}).ok());
    row->second.erased = true;
  }

  void Maintain() {
    hours_ += 1;
    ASSERT_TRUE(storage_->Maintain(kTestNowMs + hours_ * 3'600'000).ok());
  }

  void Reopen() {
    ASSERT_TRUE(storage_.Open().ok());
    CheckAll();
    const auto orphans = storage_->FindOrphans();
    ASSERT_TRUE(orphans.ok());
    EXPECT_TRUE(orphans->slots.empty());
    EXPECT_EQ(orphans->unnamed_slot_count, 0u);
    for (const SegmentsRef& segments : orphans->segments) {
      const auto row = rows_.find({segments.key, PayloadKind::kInput});
      ASSERT_TRUE(row != rows_.end() && row->second.erased);
    }
    const auto erased = std::count_if(rows_.begin(), rows_.end(),
                                      [](const auto& row) { return row.second.erased; });
    EXPECT_EQ(orphans->rows.size(), static_cast<size_t>(erased));
  }

  void CheckRow(const CallKey& key, PayloadKind kind, const std::optional<StoredPayload>& present,
                const std::optional<StoredPayload>& dead) {
    const auto row = rows_.find({key, kind});
    if (row == rows_.end()) {
      EXPECT_FALSE(present || dead);
      return;
    }
    StoredPayload expected = row->second.payload.stored;
    if (!row->second.erased) {
      EXPECT_EQ(present, expected);
      EXPECT_TRUE(storage_.IsReadable(row->second.payload));
      return;
    }
    // Its slot may serve another by now.
    EXPECT_FALSE(storage_.IsReadable(row->second.payload));
    EXPECT_NE(present.has_value(), dead.has_value());
    if (dead) {
      EXPECT_EQ(dead, expected);
    }
    expected.erased = true;
    if (present) {
      EXPECT_EQ(present, expected);
    }
  }

  void CheckDue() {
    const auto fields = [](const DuePayload& due) {
      return std::tuple(due.due_s, due.key, due.kind, due.slot.slot, due.slot.generation,
                        due.size_bytes, due.stored_ms);
    };
    std::vector<decltype(fields({}))> expected;
    for (const auto& [key, row] : rows_) {
      const StoredPayload& stored = row.payload.stored;
      expected.push_back(fields({.due_s = DueSecond(stored.deadline_ms),
                                 .key = key.first,
                                 .kind = key.second,
                                 .slot = stored.slot,
                                 .size_bytes = stored.size_bytes,
                                 .stored_ms = stored.stored_ms}));
    }
    std::sort(expected.begin(), expected.end());
    decltype(expected) found;
    std::optional<DuePayload> after;
    while (true) {
      const auto due = storage_->Due(0, INT64_MAX - 2, 17, after);
      ASSERT_TRUE(due.ok()) << due.status();
      for (const DuePayload& row : *due) found.push_back(fields(row));
      if (due->size() < 17) break;
      after = due->back();
    }
    EXPECT_TRUE(found == expected) << found.size() << " due rows, not " << expected.size();
  }

  std::mt19937_64 random_;
  const std::unique_ptr<Engine> engine_;
  Engine& storage_;
  std::map<RowKey, Row> rows_;
  int64_t hours_ = 0;
};

class HistoryTest : public testing::TestWithParam<EngineKind> {};
INSTANTIATE_TEST_SUITE_P(Engines, HistoryTest, AllEngines(), NameOfEngine);

TEST_P(HistoryTest, AgreesWithItsModelAtEveryStep) {
  const uint64_t first = RandomSeed();
  for (uint64_t seed = first; seed < first + 4; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    History history(GetParam(), seed);
    for (int step = 0; step < 2000 && !HasFailure(); ++step) {
      history.Step();
      if (step % 100 == 0) history.CheckAll();
    }
    history.CheckAll();
    if (HasFailure()) break;
  }
}

}  // namespace
}  // namespace mayfly
