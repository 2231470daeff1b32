#include "storage/engine.h"

#include <utility>

#include "base/error.h"
#include "keys/slot_format.h"
#include "storage/memory/memory_storage.h"
#include "storage/storage_harness.h"
#include "support/damage.h"
#include "support/fault_file_system.h"
#include "support/fault_rocksdb.h"

namespace mayfly {
namespace {

// Others than those of the tests.
constexpr uint32_t kOtherKeys = 100'000;
// More than there are free slots at first.
constexpr size_t kOthersMax = 60'000;

class LocalEngine final : public Engine {
 public:
  explicit LocalEngine(uint64_t seed)
      : Engine(seed),
        files_(&plan, scratch_[0].path()),
        rocksdb_files_(std::make_shared<FaultRocksFileSystem>(&plan, scratch_[1].path())) {}
  ~LocalEngine() override { Close(); }

  void DamageSlot(SlotRef slot) override {
    FlipBit(directory_.path() + "/data/keys/slots", OffsetOfSlot(slot.slot) + 10);
  }

 private:
  absl::StatusOr<std::unique_ptr<Storage>> OpenStorage() override {
    LocalStorageOptions options = StorageHarness::OptionsIn(directory_);
    options.root_key = SecretBytes(AsBytes(std::string(32, 'r')));
    options.memtable_bytes = 1 << 20;
    options.index_calls_max = 32;  // most loads miss
    options.file_system = &files_;
    options.rocksdb_file_system = rocksdb_files_;
    options.log = [](StorageLogLevel, absl::string_view) {};
    return LocalStorage::Open(std::move(options));
  }
  // Each on its own: neither knows how far the other's disk got.
  void DropUnsynced() override {
    files_.DropUnsynced(&random);
    rocksdb_files_->DropUnsynced(&random);
  }

  TestDirectory directory_;
  TestDirectory scratch_[2];
  FaultFileSystem files_;
  const std::shared_ptr<FaultRocksFileSystem> rocksdb_files_;
};

class MemoryEngine final : public Engine {
 public:
  explicit MemoryEngine(uint64_t seed) : Engine(seed), disk_(seed) {}
  ~MemoryEngine() override { Close(); }

  void DamageSlot(SlotRef slot) override { disk_.DamageSlot(slot.slot); }
  bool DamageCall(const CallKey& key) override {
    disk_.DamageRow(key, PayloadKind::kInput);
    disk_.DamageRow(key, PayloadKind::kOutput);
    disk_.DamageTombstone(key);
    return true;
  }
  bool DamageDueRow(const CallKey& key, PayloadKind kind) override {
    disk_.DamageDueRow(key, kind);
    return true;
  }

 private:
  absl::StatusOr<std::unique_ptr<Storage>> OpenStorage() override {
    return MemoryStorage::Open({.disk = &disk_,
                                .root_key = SecretBytes(AsBytes(std::string(32, 'r'))),
                                .now_ms = kTestNowMs,
                                .on_operation = [this](DiskOperation operation) {
                                  const bool fails = ChangesDisk(operation) && plan.ShouldFail();
                                  return fails ? absl::UnavailableError("the disk failed")
                                               : absl::OkStatus();
                                }});
  }
  void DropUnsynced() override { disk_.LosePower(); }

  MemoryDisk disk_;
};

}  // namespace

absl::Status Engine::Open() {
  Close();
  auto opened = OpenStorage();
  RETURN_IF_ERROR(opened.status());
  storage_ = *std::move(opened);
  return absl::OkStatus();
}

void Engine::Kill() {
  plan.FailFromNowOn();
  Close();
  plan.NeverFail();
}

void Engine::LosePower() {
  Kill();
  DropUnsynced();
}

std::unique_ptr<Engine> MakeLocalEngine(uint64_t seed) {
  return std::make_unique<LocalEngine>(seed);
}
std::unique_ptr<Engine> MakeMemoryEngine(uint64_t seed) {
  return std::make_unique<MemoryEngine>(seed);
}

std::vector<DuePayload> EngineTest::AllDue() {
  auto due = storage_->Due(0, INT64_MAX - 2, 1'000'000, std::nullopt);
  EXPECT_TRUE(due.ok()) << due.status();
  return *std::move(due);
}

Orphans EngineTest::FindOrphans() {
  auto orphans = storage_->FindOrphans();
  EXPECT_TRUE(orphans.ok()) << orphans.status();
  return *std::move(orphans);
}

std::vector<TestPayload> EngineTest::ReuseSlot(SlotRef slot) {
  std::vector<TestPayload> others;
  do {
    const auto number = kOtherKeys + static_cast<uint32_t>(others.size());
    others.push_back(Put({.key = TestKey(number)}));
    EXPECT_LT(others.size(), kOthersMax) << "the slot is not given to others";
  } while (others.back().stored.slot.slot != slot.slot && !testing::Test::HasFailure());
  return others;
}

}  // namespace mayfly
