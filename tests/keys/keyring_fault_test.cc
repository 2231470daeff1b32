// The keyring with a disk that fails at the k-th operation, for every k, and with power losses.
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "keys/keyring_use.h"
#include "support/fault_file_system.h"
#include "support/random_seed.h"
#include "support/temporary_directory.h"

namespace mayfly {
namespace {

// The answers that a user of the keyring has received so far.
struct Told {
  std::map<EpochHour, std::string> usable;  // what each key extracts
  std::set<EpochHour> maybe_destroyed;      // asked for
  std::set<EpochHour> destroyed;            // answered
  bool rewrap_began = false;
  bool rewrapped = false;

  void SeeUsable(const Keyring& keyring) {
    for (EpochHour hour : keyring.Hours()) usable[hour] = ExtractText(keyring, hour);
  }
};

// A day in the life, up to its first error, at which a process ends.
void Live(FileSystem* files, const std::string& directory, Told* told) {
  auto keyring = Keyring::Create(files, directory, Key(1), kStoreId, kNowMs);
  if (!keyring.ok()) return;
  told->SeeUsable(**keyring);
  for (int hour = 1; hour <= 2; ++hour) {
    const int64_t now_ms = kNowMs + hour * kEpochMs;
    if (!(*keyring)->EnsureAhead(now_ms).ok()) return;
    told->SeeUsable(**keyring);
    const EpochHour passed = EpochOfDeadline(now_ms) - 1;
    told->maybe_destroyed.insert(passed);
    if (!(*keyring)->DestroyPassed(now_ms).ok()) return;
    told->destroyed.insert(passed);
  }
  told->rewrap_began = true;
  if (!(*keyring)->Rewrap(Key(2)).ok()) return;
  told->rewrapped = true;
  if (!(*keyring)->EnsureAhead(kNowMs + 3 * kEpochMs).ok()) return;
  told->SeeUsable(**keyring);
}

void ExpectAllTrue(FileSystem* files, const std::string& directory, const Told& told) {
  if (!Keyring::Exists(files, directory)) {
    EXPECT_TRUE(told.usable.empty()) << "the keyring is gone";
    return;
  }
  auto by_old = Keyring::Open(files, directory, Key(1));
  auto by_new = Keyring::Open(files, directory, Key(2));
  ASSERT_NE(by_old.ok(), by_new.ok()) << by_old.status() << by_new.status();
  EXPECT_EQ((by_old.ok() ? by_new : by_old).status().code(), absl::StatusCode::kFailedPrecondition);
  if (!told.rewrap_began) {
    EXPECT_TRUE(by_old.ok());
  }
  if (told.rewrapped) {
    EXPECT_TRUE(by_new.ok());
  }

  Keyring& keyring = by_old.ok() ? **by_old : **by_new;
  for (const auto& [hour, extracted] : told.usable) {
    const std::string now = ExtractText(keyring, hour);
    if (told.destroyed.contains(hour)) {
      EXPECT_EQ(now, "") << hour << " is back";
    } else if (!now.empty() || !told.maybe_destroyed.contains(hour)) {
      EXPECT_EQ(now, extracted) << hour;
    }
  }
  EXPECT_TRUE(keyring.EnsureAhead(kNowMs + 5 * kEpochMs).ok()) << "it cannot go on";
}

uint64_t OperationsOfALife() {
  TemporaryDirectory directory;
  FaultPlan plan;
  std::filesystem::create_directory(directory / "scratch");
  FaultFileSystem files(&plan, directory / "scratch");
  Told told;
  Live(&files, directory.path(), &told);
  EXPECT_TRUE(told.rewrapped);
  EXPECT_EQ(told.destroyed.size(), 2u);
  EXPECT_EQ(told.usable.size(), 30u);
  return plan.operations();
}

TEST(KeyringFault, AnyFailedOperationLosesNoKey) {
  const uint64_t operations = OperationsOfALife();
  EXPECT_GT(operations, 30u);
  for (uint64_t k = 1; k <= operations; ++k) {
    for (bool and_all_after : {false, true}) {
      SCOPED_TRACE(testing::Message() << "operation " << k << " and all after: " << and_all_after);
      TemporaryDirectory directory;
      std::filesystem::create_directory(directory / "scratch");
      FaultPlan plan;
      FaultFileSystem files(&plan, directory / "scratch");
      plan.FailAt(k, and_all_after);
      Told told;
      Live(&files, directory.path(), &told);
      ASSERT_TRUE(plan.has_failed());
      plan.NeverFail();
      ExpectAllTrue(&files, directory.path(), told);
    }
  }
}

TEST(KeyringFault, APowerLossLosesNoKey) {
  const uint64_t operations = OperationsOfALife();
  const uint64_t seed = RandomSeed();
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    const uint64_t k = 1 + random() % operations;
    SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round << " operation " << k);
    TemporaryDirectory directory;
    std::filesystem::create_directory(directory / "scratch");
    FaultPlan plan;
    FaultFileSystem files(&plan, directory / "scratch");
    plan.FailAt(k, /*and_all_after=*/true);
    Told told;
    Live(&files, directory.path(), &told);
    files.DropUnsynced(&random);
    plan.NeverFail();
    ExpectAllTrue(&files, directory.path(), told);
    if (HasFailure()) return;
  }
}

// A process that is killed leaves a renamed file which no directory sync has made durable yet:
// what the next one reads must not be lost by a power loss after it.
TEST(KeyringFault, WhatAnOpenedKeyringHasSurvivesAPowerLoss) {
  const uint64_t operations = OperationsOfALife();
  const uint64_t seed = RandomSeed();
  std::mt19937_64 random(seed);
  for (uint64_t k = 1; k <= operations; ++k) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << " operation " << k);
    TemporaryDirectory directory;
    std::filesystem::create_directory(directory / "scratch");
    FaultPlan plan;
    FaultFileSystem files(&plan, directory / "scratch");
    // The k-th operation is not done, and nothing after it: a kill rather than a failing disk.
    plan.FailAt(k, /*and_all_after=*/true);
    Told told;
    Live(&files, directory.path(), &told);
    plan.NeverFail();
    if (!Keyring::Exists(&files, directory.path())) continue;
    for (uint8_t key : {1, 2}) {
      auto keyring = Keyring::Open(&files, directory.path(), Key(key));
      if (keyring.ok()) told.SeeUsable(**keyring);
    }
    files.DropUnsynced(&random);
    ExpectAllTrue(&files, directory.path(), told);
    if (HasFailure()) return;
  }
}

TEST(KeyringFault, AFullDiskRefusesAChangeAndTheNextOneSucceeds) {
  TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "scratch");
  FaultPlan plan;
  FaultFileSystem files(&plan, directory / "scratch");
  auto keyring = Keyring::Create(&files, directory.path(), Key(1), kStoreId, kNowMs);
  ASSERT_TRUE(keyring.ok());
  plan.FailAt(2);  // creates keyring.new, then cannot write it
  EXPECT_EQ((*keyring)->EnsureAhead(kNowMs + kEpochMs).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ((*keyring)->Hours().size(), 27u) << "a key that is not durable must not be used";
  EXPECT_TRUE((*keyring)->EnsureAhead(kNowMs + kEpochMs).ok());
  EXPECT_EQ((*keyring)->Hours().size(), 28u);
}

TEST(KeyringFault, AFailedRenameOrSyncIsFinal) {
  // create, write, sync; then: rename, sync directory, and the old file's write and sync
  for (uint64_t k = 4; k <= 7; ++k) {
    TemporaryDirectory directory;
    std::filesystem::create_directory(directory / "scratch");
    FaultPlan plan;
    FaultFileSystem files(&plan, directory / "scratch");
    auto keyring = Keyring::Create(&files, directory.path(), Key(1), kStoreId, kNowMs);
    ASSERT_TRUE(keyring.ok());
    plan.FailAt(k);
    EXPECT_FALSE((*keyring)->DestroyPassed(kNowMs + kEpochMs).ok());
    EXPECT_TRUE(plan.has_failed());
    EXPECT_EQ((*keyring)->DestroyPassed(kNowMs + kEpochMs).code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ((*keyring)->EnsureAhead(kNowMs + kEpochMs).code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ((*keyring)->Rewrap(Key(2)).code(), absl::StatusCode::kUnavailable);
    EXPECT_NE(ExtractText(**keyring, 490001), "") << "what is durable can still be read";
  }
}

}  // namespace
}  // namespace mayfly
