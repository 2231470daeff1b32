// The engines of storage, for tests of what all of them promise.
//
//   class MyTest : public EngineTest {};
//   TEST_P(MyTest, ...) { storage_.Put(...); storage_->Sync(); storage_.LosePower(); Reopen(); }
//   INSTANTIATE_TEST_SUITE_P(Engines, MyTest, AllEngines(), NameOfEngine);
//
// An engine has its machine, which is killed, loses its power, and fails operations on demand.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "storage/storage_operations.h"
#include "support/fault_plan.h"

namespace mayfly {

inline constexpr int64_t kTestHourMs = 3'600'000;

class Engine : public StorageOperations {
 public:
  // Does not open.
  explicit Engine(uint64_t seed) : StorageOperations(seed) {}

  // Closes what is open.
  absl::Status Open();
  void Close() { storage_.reset(); }
  // The process ends, whatever it was about. Neither is to come after a failure that the plan has
  // caused and the other excludes: see fault_file_system.h.
  void Kill();
  void LosePower();

  Storage* operator->() { return storage_.get(); }

  // Overwrites what the slot holds. The storage is open.
  virtual void DamageSlot(SlotRef slot) = 0;
  // Makes the rows unreadable. False: this engine is not damaged from outside while it is open.
  virtual bool DamageCall(const CallKey&) { return false; }
  virtual bool DamageDueRow(const CallKey&, PayloadKind) { return false; }

  // Of the operations that change the disk.
  FaultPlan plan;

 private:
  virtual absl::StatusOr<std::unique_ptr<Storage>> OpenStorage() = 0;
  // Nothing is open.
  virtual void DropUnsynced() = 0;
  Storage* storage() override { return storage_.get(); }

  std::unique_ptr<Storage> storage_;
};

struct EngineKind {
  std::string name;
  std::unique_ptr<Engine> (*make)(uint64_t seed) = nullptr;
};

std::unique_ptr<Engine> MakeLocalEngine(uint64_t seed);
std::unique_ptr<Engine> MakeMemoryEngine(uint64_t seed);

inline auto AllEngines() {
  return testing::Values(EngineKind{.name = "Local", .make = &MakeLocalEngine},
                         EngineKind{.name = "Memory", .make = &MakeMemoryEngine});
}
inline std::string NameOfEngine(const testing::TestParamInfo<EngineKind>& kind) {
  return kind.param.name;
}

// One engine, open, with assertions around what the store would do.
class EngineTest : public testing::TestWithParam<EngineKind> {
 protected:
  void SetUp() override { Reopen(); }

  void Reopen() {
    const absl::Status opened = storage_.Open();
    ASSERT_TRUE(opened.ok()) << opened;
  }
  void Sync() { ASSERT_TRUE(storage_->Sync().ok()); }
  TestPayload Put(const PutOptions& put) {
    auto payload = storage_.Put(put);
    EXPECT_TRUE(payload.ok()) << payload.status();
    return *std::move(payload);
  }
  TestPayload PutOutput(const CallKey& key, uint32_t attempt) {
    return Put({.key = key, .kind = PayloadKind::kOutput, .attempt = attempt});
  }
  std::vector<SlotLease> Reserve(size_t count) {
    auto leases = storage_->ReserveSlots(count);
    EXPECT_TRUE(leases.ok()) << leases.status();
    return *std::move(leases);
  }
  // From the beginning to the end.
  std::vector<DuePayload> AllDue();
  Orphans FindOrphans();
  // Puts others until the slot of an erased payload serves the last of them. Returns these.
  std::vector<TestPayload> ReuseSlot(SlotRef slot);

 private:
  const std::unique_ptr<Engine> engine_ = GetParam().make(1);

 protected:
  Engine& storage_ = *engine_;
};

}  // namespace mayfly
