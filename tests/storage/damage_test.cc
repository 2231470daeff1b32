// Damaged files: which calls are affected, which continue, and that the evidence is kept.
#include "support/damage.h"

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/local/row_format.h"
#include "storage/storage_error.h"
#include "storage/storage_harness.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint32_t kPayloads = 400;
// So many fit into one block of 16 KiB at most.
constexpr size_t kPerBlockMax = 64;

class DamageTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(storage_.Open().ok()); }

  std::string Path(const std::string& name) { return storage_.options.data_dir + "/" + name; }

  void PutAll() {
    for (uint32_t i = 0; i < kPayloads; ++i) {
      auto payload = storage_.Put({.key = TestKey(i), .ciphertext_bytes = 500});
      ASSERT_TRUE(payload.ok()) << payload.status();
      payloads_.push_back(*std::move(payload));
    }
    ASSERT_TRUE(storage_->Sync().ok());
  }
  // All rows into table files; opened again, so that none is in memory.
  void DamageAtRest(const std::string& family) {
    ASSERT_TRUE(storage_->Maintain(kTestNowMs + 2 * LocalStorage::kFlushIntervalMs).ok());
    storage_.Close();
    DamageBlock(Path("db"), family);
    const absl::Status opened = storage_.Open();
    ASSERT_TRUE(opened.ok()) << opened;
  }
  std::vector<LoadedCall> LoadAll() {
    std::vector<CallKey> keys;
    for (uint32_t i = 0; i < kPayloads; ++i) keys.push_back(TestKey(i));
    std::vector<LoadedCall> loaded(kPayloads);
    storage_->Load(keys, absl::MakeSpan(loaded));
    return loaded;
  }
  static size_t CountUnreadable(const std::vector<LoadedCall>& loaded) {
    size_t count = 0;
    for (const LoadedCall& call : loaded) {
      if (call.status.ok()) continue;
      EXPECT_EQ(KindOf(call.status), StorageErrorKind::kUnreadable);
      EXPECT_EQ(call.status.code(), absl::StatusCode::kDataLoss);
      EXPECT_EQ(ReasonOf(call.status), Reason::kAuthenticationFailed);
      EXPECT_EQ(call.state, CallState()) << "something is told of a call that cannot be read";
      ++count;
    }
    return count;
  }
  void ZeroSlot(SlotRef slot) {
    std::fstream file(Path("keys/slots"), std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(OffsetOfSlot(slot.slot)));
    file.write(std::string(kSlotBytes, '\0').data(), kSlotBytes);
  }

  // Of the first payloads, behind the store's back.
  void RemoveRows(size_t count, std::set<Family> families) {
    StorageHealth health(nullptr);
    const auto database = Database::Open(
        {.directory = Path("db"),
         .sizes = {.memtable_bytes = uint64_t{16} << 20, .tombstone_file_ttl_s = 86400}},
        &health);
    ASSERT_TRUE(database.ok()) << database.status();
    for (size_t i = 0; i < count; ++i) {
      const TestPayload& payload = payloads_[i];
      rocksdb::WriteBatch batch;
      if (families.contains(Family::kCalls)) {
        batch.SingleDelete((*database)->family(Family::kCalls),
                           AsSlice(EncodeCallKey(payload.key, payload.kind)));
      }
      if (families.contains(Family::kDeadlines)) {
        batch.SingleDelete((*database)->family(Family::kDeadlines),
                           AsSlice(EncodeDueKey(DueOf(payload.key, payload.kind, payload.stored))));
      }
      ASSERT_TRUE((**database)->Write(rocksdb::WriteOptions(), &batch).ok());
    }
  }

  StorageHarness storage_;
  std::vector<TestPayload> payloads_;
};

TEST_F(DamageTest, OneBadBlockOfRowsConcernsItsCallsOnly) {
  PutAll();
  DamageAtRest("calls");
  const std::vector<LoadedCall> loaded = LoadAll();
  const size_t unreadable = CountUnreadable(loaded);
  EXPECT_GT(unreadable, 0u);
  EXPECT_LT(unreadable, kPerBlockMax);
  for (uint32_t i = 0; i < kPayloads; ++i) {
    const PayloadRef ref = payloads_[i].ref();
    const auto rows = storage_->ReadRows({&ref, 1});
    EXPECT_EQ(rows[0].ok(), loaded[i].status.ok());
    EXPECT_EQ(storage_.IsReadable(payloads_[i]), loaded[i].status.ok());
  }
  EXPECT_GT(storage_->alarms(), 0u);
  EXPECT_TRUE(storage_->Health().ok());
  // What has ended is removed without being read.
  const auto bad =
      static_cast<size_t>(std::find_if(loaded.begin(), loaded.end(),
                                       [](const LoadedCall& call) { return !call.status.ok(); }) -
                          loaded.begin());
  ASSERT_TRUE(storage_->Erase({{payloads_[bad].stored.slot}}).ok());
  const auto orphans = storage_->FindOrphans();
  ASSERT_TRUE(orphans.ok()) << orphans.status();
  ASSERT_THAT(orphans->rows, SizeIs(1));
  ASSERT_TRUE(storage_->RemoveOrphans(0, *orphans, {}).ok());
  EXPECT_TRUE(storage_->FindOrphans()->empty());
}

TEST_F(DamageTest, ATombstoneThatCannotBeReadIsNotNoTombstone) {
  PutAll();
  for (uint32_t i = 0; i < kPayloads; ++i) ASSERT_TRUE(storage_.Ack(TestKey(i)).ok());
  DamageAtRest("tombstones");
  const std::vector<LoadedCall> loaded = LoadAll();
  EXPECT_GT(CountUnreadable(loaded), 0u);
  for (const LoadedCall& call : loaded) {
    EXPECT_TRUE(!call.status.ok() || call.state.tombstone.has_value());
  }
}

TEST_F(DamageTest, WhatIsDueIsFoundAroundABadBlockAndInItByThePayloadsRows) {
  PutAll();
  DamageAtRest("deadlines");
  const auto due = storage_->Due(0, kTestNowMs, 10'000, {});
  ASSERT_TRUE(due.ok()) << due.status();
  EXPECT_GT(due->size(), 0u);
  EXPECT_LT(due->size(), kPayloads);
  // Page by page there are as many.
  size_t paged = 0;
  std::optional<DuePayload> after;
  while (true) {
    const auto page = storage_->Due(0, kTestNowMs, 7, after);
    ASSERT_TRUE(page.ok());
    paged += page->size();
    if (page->size() < 7) break;
    after = page->back();
  }
  EXPECT_EQ(paged, due->size());
  EXPECT_GT(storage_->skipped(), 0u);

  std::set<uint64_t> visited;
  ASSERT_TRUE(storage_
                  ->VisitPayloads(
                      [&](const DuePayload& payload) { visited.insert(payload.slot.generation); })
                  .ok());
  EXPECT_EQ(visited.size(), kPayloads);

  // Slots whose rows are hidden are not taken for nobody's.
  const auto orphans = storage_->FindOrphans();
  ASSERT_TRUE(orphans.ok());
  EXPECT_FALSE(orphans->is_whole);
  EXPECT_TRUE(orphans->empty());
}

TEST_F(DamageTest, EveryOtherWalkGoesOnAroundABadBlock) {
  for (uint32_t i = 0; i < 2000; ++i) {
    const TenantUsage usage = {.tenant = TenantNumber{i}, .live_calls = 1};
    ASSERT_TRUE(storage_->Commit(0, {}, {&usage, 1}).ok());
  }
  ASSERT_TRUE(storage_->Sync().ok());
  DamageAtRest("usage");
  const auto usage = storage_->LoadUsage(0);
  ASSERT_TRUE(usage.ok()) << usage.status();
  EXPECT_GT(usage->size(), 500u);
  EXPECT_LT(usage->size(), 2000u);
}

TEST_F(DamageTest, TenantsThatCannotBeReadRefuseToStart) {
  ASSERT_TRUE(storage_->ResolveTenant(std::string(6000, 'a'), 1).ok());
  ASSERT_TRUE(storage_->Maintain(kTestNowMs + 2 * LocalStorage::kFlushIntervalMs).ok());
  storage_.Close();
  DamageBlock(Path("db"), "tenants");
  const absl::Status refused = storage_.Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("the tenants' rows in the database db"));
}

TEST_F(DamageTest, ACompactionThatMeetsABadBlockIsNotTheEnd) {
  PutAll();
  DamageAtRest("calls");
  // Enough files for RocksDB to compact them, and then more than it lets wait without stopping all
  // writes while it would compact.
  int64_t now_ms = kTestNowMs + 2 * LocalStorage::kFlushIntervalMs;
  for (uint32_t i = 0; i < 50; ++i) {
    // Around the block, or the file would be moved without being read.
    for (const int64_t time_ms : {kTestNowMs - 1, kTestNowMs + 1}) {
      ASSERT_TRUE(storage_.Put({.key = TestKey(i, 1, time_ms)}).ok());
    }
    now_ms += LocalStorage::kFlushIntervalMs;
    ASSERT_TRUE(storage_->Maintain(now_ms).ok());
    ASSERT_TRUE(storage_->Health().ok());
    // The compaction runs in RocksDB's own time; it has failed before the files are many.
    for (int wait = 0; i == 8 && storage_->alarms() == 0; ++wait) {
      ASSERT_LT(wait, 3000) << "no compaction has met the block";
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  EXPECT_TRUE(storage_.Open().ok());
  EXPECT_GT(CountUnreadable(LoadAll()), 0u);
}

TEST_F(DamageTest, ALogCutByAFewBytesIsDataLoss) {
  PutAll();
  storage_.Close();
  std::string log;
  for (const auto& entry : std::filesystem::directory_iterator(Path("db"))) {
    if (entry.path().extension() == ".log" && entry.file_size() > 0) log = entry.path().string();
  }
  std::filesystem::resize_file(log, std::filesystem::file_size(log) - 7);
  const absl::Status refused = storage_.Open();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
}

TEST_F(DamageTest, WhatWasSyncedAndIsGoneFromItsSlotIsKeptAsEvidence) {
  PutAll();
  storage_.Close();
  for (const size_t i : {0, 1, 2}) ZeroSlot(payloads_[i].stored.slot);
  for (int start = 0; start < 2; ++start) {
    ASSERT_TRUE(storage_.Open().ok());
    EXPECT_TRUE(storage_.Load(TestKey(0)).state.input->damaged);
    EXPECT_FALSE(storage_.Load(TestKey(3)).state.input->damaged);
    const auto orphans = storage_->FindOrphans();
    ASSERT_TRUE(orphans.ok());
    EXPECT_TRUE(orphans->empty());
    EXPECT_EQ(orphans->damaged_row_count, 3u);
  }
  // Whatever is put meanwhile does not take their slots.
  const auto leases = storage_->ReserveSlots(2000);
  ASSERT_TRUE(leases.ok());
  EXPECT_TRUE(storage_.Load(TestKey(0)).state.input->damaged);

  storage_.options.accept_data_loss = true;
  ASSERT_TRUE(storage_.Open().ok());
  EXPECT_FALSE(storage_.Load(TestKey(0)).state.input.has_value());
  const auto orphans = storage_->FindOrphans();
  ASSERT_TRUE(orphans.ok());
  EXPECT_THAT(orphans->rows, SizeIs(3));
  ASSERT_TRUE(storage_->RemoveOrphans(0, *orphans, {}).ok());
  EXPECT_TRUE(storage_->FindOrphans()->empty());
}

TEST_F(DamageTest, SyncedSlotsWhoseRowsAreGoneAreKeptUntilTheLossIsAccepted) {
  PutAll();
  storage_.Close();
  RemoveRows(3, {Family::kCalls, Family::kDeadlines});
  for (int start = 0; start < 2; ++start) {
    ASSERT_TRUE(storage_.Open().ok());
    const auto orphans = storage_->FindOrphans();
    ASSERT_TRUE(orphans.ok());
    EXPECT_THAT(orphans->slots, IsEmpty());
    EXPECT_EQ(orphans->unnamed_slot_count, 3u);
    storage_->OrphansRemoved(/*all=*/true);
    ASSERT_TRUE(storage_.Put({.key = TestKey(kPayloads + 1)}).ok());
    ASSERT_TRUE(storage_.Ack(TestKey(kPayloads + 1)).ok());
  }
  storage_.options.accept_data_loss = true;
  ASSERT_TRUE(storage_.Open().ok());
  EXPECT_THAT(storage_->FindOrphans()->slots, SizeIs(3));
}

TEST_F(DamageTest, PayloadsWhoseDeadlinesAreGoneStayAlsoWhenTheLossIsAccepted) {
  PutAll();
  storage_.Close();
  RemoveRows(3, {Family::kDeadlines});
  for (const bool accept : {false, true, false}) {
    storage_.options.accept_data_loss = accept;
    ASSERT_TRUE(storage_.Open().ok());
    const auto orphans = storage_->FindOrphans();
    ASSERT_TRUE(orphans.ok());
    EXPECT_TRUE(orphans->empty());
    EXPECT_TRUE(orphans->is_whole);
    EXPECT_EQ(orphans->unnamed_slot_count, 0u);
    EXPECT_EQ(orphans->undated_payload_count, 3u);
    for (const size_t i : {0, 1, 2, 3}) EXPECT_TRUE(storage_.IsReadable(payloads_[i]));
    storage_->OrphansRemoved(/*all=*/true);
  }
}

// The ways of a row to leave without a tombstone of its slot, and a kill before the erasure.
TEST_F(DamageTest, SlotsOfRowsThatLeftAreErasedByTheNextStart) {
  const auto input = storage_.Put({.key = TestKey(1)});
  const auto output = storage_.Put({.key = TestKey(2), .kind = PayloadKind::kOutput});
  const auto ended = storage_.Put({.key = TestKey(3)});
  auto leases = storage_->ReserveSlots(1);
  ASSERT_TRUE(input.ok() && output.ok() && ended.ok() && leases.ok());
  StoredUpload upload{.id = {7}, .key = TestKey(3), .metadata = Sealed::CopyOf(AsBytes("sealed"))};
  upload.payload.slot = leases->front().ref;
  ASSERT_TRUE(storage_->StoreUpload(upload, leases->front().secret).ok());
  ASSERT_TRUE(storage_->Sync().ok());
  ASSERT_TRUE(storage_.Open().ok());

  const LoadedCall expired = storage_.Load(TestKey(1));
  Effects expiry;
  expiry.remove_input = expired.state.input;
  const LoadedCall ending = storage_.Load(TestKey(3));
  Effects end;
  end.remove_input = ending.state.input;
  end.tombstone = Tombstone{.reason = EndReason::kDeleted, .input = ending.state.input->slot};
  const EndedUpload ended_upload = {.id = upload.id, .slot = upload.payload.slot};
  const CallChange changes[] = {
      {.key = TestKey(1), .effects = expiry, .loaded = &expired},
      {.key = TestKey(3), .effects = end, .loaded = &ending, .ended_uploads = {ended_upload}}};
  ASSERT_TRUE(storage_->Commit(0, changes, {}).ok());
  ASSERT_TRUE(storage_.Put({.key = TestKey(2), .kind = PayloadKind::kOutput, .attempt = 1}).ok());
  ASSERT_TRUE(storage_->Sync().ok());
  for (const SlotRef slot : {input->stored.slot, output->stored.slot, upload.payload.slot}) {
    ASSERT_EQ(storage_->StateOf(slot), SlotState::kLive);
  }

  ASSERT_TRUE(storage_.Open().ok());
  for (const SlotRef slot : {input->stored.slot, output->stored.slot, upload.payload.slot}) {
    EXPECT_EQ(storage_->StateOf(slot), SlotState::kErased);
  }
  EXPECT_TRUE(storage_->FindOrphans()->empty());
  EXPECT_EQ(storage_->FindOrphans()->unnamed_slot_count, 0u);
}

}  // namespace
}  // namespace mayfly
