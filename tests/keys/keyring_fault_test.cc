// The keyring with a disk that fails at the k-th operation, for every k, and with power losses.
#include <filesystem>
#include <memory>
#include <random>
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
  struct Sealed {
    SecondRef second;
    std::string extracted;
  };
  std::vector<Sealed> sealed;
  int64_t maybe_closed_ms = 0;  // asked for
  int64_t closed_ms = 0;        // answered
  bool rewrap_began = false;
  bool rewrapped = false;

  // Payloads in some seconds of the hours in which some are closed, and in one of the others.
  void SealAll(Keyring* keyring) {
    for (const Hour hour : keyring->Hours()) {
      for (const uint32_t each : {0, 1, 1799, 1800, 3599}) {
        if (each > 0 && hour > kHour + 4) break;
        const SecondRef second = Seal(keyring, SecondIn(hour, each));
        if (second.hour_key == 0) continue;
        sealed.push_back({.second = second, .extracted = ExtractText(*keyring, second)});
      }
    }
  }
};

// A day in the life, up to its first error, at which a process ends.
void Live(FileSystem* files, const std::string& directory, Told* told) {
  auto keyring = Keyring::Create(files, directory, Key(1), kStoreId, kNowMs);
  if (!keyring.ok()) return;
  told->SealAll(keyring->get());
  const auto close = [&](int64_t erase_ms) {
    told->maybe_closed_ms = erase_ms;
    if (!(*keyring)->Close(erase_ms).ok()) return false;
    told->closed_ms = erase_ms;
    return true;
  };
  if (!close(1000 * SecondIn(kHour, 1799)) || !close(1000 * SecondIn(kHour, 1800))) return;
  for (int hour = 1; hour <= 2; ++hour) {
    const int64_t now_ms = kNowMs + hour * kHourMs;
    if (!(*keyring)->EnsureAhead(now_ms).ok()) return;
    told->SealAll(keyring->get());
    if (!close(now_ms)) return;
  }
  told->rewrap_began = true;
  if (!(*keyring)->Rewrap(Key(2)).ok()) return;
  told->rewrapped = true;
  if (!(*keyring)->EnsureAhead(kNowMs + 3 * kHourMs).ok()) return;
  told->SealAll(keyring->get());
  close(1000 * SecondIn(kHour + 3, 1799));
}

void ExpectAllTrue(FileSystem* files, const std::string& directory, const Told& told) {
  if (!Keyring::Exists(files, directory)) {
    EXPECT_TRUE(told.sealed.empty()) << "the keyring is gone";
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
  for (const Told::Sealed& sealed : told.sealed) {
    const int64_t due_ms = 1000 * sealed.second.due_s;
    const std::string now = ExtractText(keyring, sealed.second);
    if (due_ms <= told.closed_ms) {
      EXPECT_EQ(now, "") << sealed.second.due_s << " is back";
    } else if (!now.empty() || due_ms > told.maybe_closed_ms) {
      EXPECT_EQ(now, sealed.extracted) << sealed.second.due_s;
    }
  }
  EXPECT_TRUE(keyring.EnsureAhead(kNowMs + 5 * kHourMs).ok()) << "it cannot go on";
}

uint64_t OperationsOfALife() {
  TemporaryDirectory directory;
  FaultPlan plan;
  std::filesystem::create_directory(directory / "scratch");
  FaultFileSystem files(&plan, directory / "scratch");
  Told told;
  Live(&files, directory.path(), &told);
  EXPECT_TRUE(told.rewrapped);
  EXPECT_EQ(told.closed_ms, 1000 * SecondIn(kHour + 3, 1799));
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

// A process that is killed leaves in the page cache what no sync has made durable yet: what the next one
// reads must not be lost by a power loss after it, and what it has found closed must not come back.
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
    plan.KillAt(k);
    Told told;
    Live(&files, directory.path(), &told);
    plan.NeverFail();
    if (!Keyring::Exists(&files, directory.path())) continue;
    for (uint8_t key : {1, 2}) {
      auto keyring = Keyring::Open(&files, directory.path(), Key(key));
      if (!keyring.ok()) continue;
      std::erase_if(told.sealed, [&](const Told::Sealed& sealed) {
        return !(*keyring)->IsClosed(sealed.second) &&
               ExtractText(**keyring, sealed.second).empty();
      });
      for (Told::Sealed& sealed : told.sealed) {
        if ((*keyring)->IsClosed(sealed.second)) sealed.extracted = "";
      }
      told.SealAll(keyring->get());
    }
    files.DropUnsynced(&random);
    ExpectAllTrue(&files, directory.path(), told);
    if (HasFailure()) return;
  }
}

TEST(KeyringFault, AFailedWriteOrSyncIsFinal) {
  // copy a, sync, copy b, sync
  for (uint64_t k = 1; k <= 4; ++k) {
    TemporaryDirectory directory;
    std::filesystem::create_directory(directory / "scratch");
    FaultPlan plan;
    FaultFileSystem files(&plan, directory / "scratch");
    auto keyring = Keyring::Create(&files, directory.path(), Key(1), kStoreId, kNowMs);
    ASSERT_TRUE(keyring.ok());
    const SecondRef over = Seal(keyring->get(), SecondIn(kHour, 1));
    const SecondRef open = Seal(keyring->get(), SecondIn(kHour, 2));
    plan.FailAt(k);
    EXPECT_FALSE((*keyring)->Close(1000 * over.due_s).ok());
    EXPECT_TRUE(plan.has_failed());
    EXPECT_TRUE((*keyring)->has_failed());
    EXPECT_EQ((*keyring)->Close(1000 * open.due_s).code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ((*keyring)->EnsureAhead(kNowMs + kHourMs).code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ((*keyring)->Rewrap(Key(2)).code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(ExtractText(**keyring, over), "") << "it is over, written or not";
    const SecondRef later = Seal(keyring->get(), SecondIn(kHour + 1, 1));
    EXPECT_NE(ExtractText(**keyring, later), "") << "what is durable can still be read";
  }
}

TEST(KeyringFault, AKeyThatIsNotDurableIsNotUsed) {
  for (uint64_t k = 1; k <= 4; ++k) {
    TemporaryDirectory directory;
    std::filesystem::create_directory(directory / "scratch");
    FaultPlan plan;
    FaultFileSystem files(&plan, directory / "scratch");
    auto keyring = Keyring::Create(&files, directory.path(), Key(1), kStoreId, kNowMs);
    ASSERT_TRUE(keyring.ok());
    plan.FailAt(k);
    EXPECT_EQ((*keyring)->EnsureAhead(kNowMs + kHourMs).code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ((*keyring)->Hours().size(), 27u);
    EXPECT_FALSE((*keyring)->NumberFor(SecondIn(kHour + 27, 0)).ok());
  }
}

}  // namespace
}  // namespace mayfly
