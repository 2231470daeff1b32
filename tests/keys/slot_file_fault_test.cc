// The slot file against a model, with a disk that fails at the k-th operation, for every k, and
// with power losses at random operations.
#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "keys/slot_file.h"
#include "support/fault_file_system.h"
#include "support/random_seed.h"
#include "support/raw_file.h"
#include "support/temporary_directory.h"

namespace mayfly {
namespace {

// The model of one generation.
struct Payload {
  SlotRef ref;
  std::string secret;
  bool write_synced = false;
  bool erase_began = false;
  bool erase_done = false;    // Erase answered
  bool erase_synced = false;  // and a Sync that began after it
};

struct Model {
  std::map<uint64_t, Payload> written;  // by generation: Write began
  std::vector<SlotLease> reserved;
  uint64_t generation_max = 0;
  uint64_t boot_number_max = 0;
  uint64_t sequence_synced = 0;
  uint64_t sequence_tried = 0;
};

class Story {
 public:
  Story(SlotFile* slots, Model* model, std::mt19937_64* random)
      : slots_(slots), model_(model), random_(*random) {}

  // False at the first error, at which a process ends.
  bool Step() {
    switch (Below(6)) {
      case 0:
      case 1:
        return Reserve();
      case 2:
        return Write();
      case 3:
        return ReturnSome();
      case 4:
        return Erase();
      default:
        return Sync();
    }
  }

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }

  bool Reserve() {
    // Now and then more than the file holds, so that it grows.
    auto leases = slots_->Reserve(Below(40) == 0 ? 33000 : 1 + Below(60));
    if (!leases.ok()) return false;
    for (SlotLease& lease : *leases) {
      EXPECT_GT(lease.ref.generation, model_->generation_max) << "a generation was given again";
      model_->generation_max = lease.ref.generation;
      if (leases->size() < 1000 || Below(100) == 0) {
        model_->reserved.push_back(std::move(lease));
      } else {
        slots_->Return({lease.ref});
      }
    }
    return true;
  }

  std::vector<SlotLease> TakeReserved() {
    std::vector<SlotLease> taken;
    for (size_t count = Below(50); count > 0 && !model_->reserved.empty(); --count) {
      std::swap(model_->reserved[Below(model_->reserved.size())], model_->reserved.back());
      taken.push_back(std::move(model_->reserved.back()));
      model_->reserved.pop_back();
    }
    return taken;
  }

  bool Write() {
    const std::vector<SlotLease> leases = TakeReserved();
    std::vector<SlotWrite> writes;
    for (const SlotLease& lease : leases) {
      writes.push_back({.ref = lease.ref, .secret = &lease.secret});
      Payload& payload = model_->written[lease.ref.generation];
      payload.ref = lease.ref;
      payload.secret = std::string(AsText(lease.secret.ExposeBytes()));
    }
    return slots_->Write(writes).ok();
  }

  bool ReturnSome() {
    for (const SlotLease& lease : TakeReserved()) slots_->Return({lease.ref});
    return true;
  }

  bool Erase() {
    std::vector<Payload*> chosen;
    std::vector<SlotRef> refs;
    for (auto& [generation, payload] : model_->written) {
      if (Below(3) != 0) continue;
      payload.erase_began = true;
      chosen.push_back(&payload);
      refs.push_back(payload.ref);
    }
    if (!slots_->Erase(refs).ok()) return false;
    for (Payload* payload : chosen) payload->erase_done = true;
    return true;
  }

  bool Sync() {
    model_->sequence_tried += Below(3);
    if (!slots_->Sync().ok()) return false;
    for (auto& [generation, payload] : model_->written) {
      payload.write_synced = true;
      payload.erase_synced = payload.erase_done;
    }
    if (!slots_->RecordSynced(model_->sequence_tried, slots_->WrittenGeneration()).ok())
      return false;
    if (Below(2) == 0) return true;
    if (!slots_->SyncRecord().ok()) return false;
    model_->sequence_synced = model_->sequence_tried;
    return true;
  }

  SlotFile* const slots_;
  Model* const model_;
  std::mt19937_64& random_;
};

// Holds what was recovered against the model, and makes the model what was recovered.
void ExpectRecovered(const SlotFile& slots, const std::string& directory, bool torn, Model* model) {
  const std::string raw = ReadRaw(directory + "/slots");
  std::map<uint64_t, Payload> live;
  for (auto& [generation, payload] : model->written) {
    const SlotState state = slots.StateOf(payload.ref);
    const auto secret = slots.ReadSecret(payload.ref);
    ASSERT_EQ(secret.ok(), state == SlotState::kLive);
    if (secret.ok()) {
      ASSERT_EQ(AsText(secret->ExposeBytes()), payload.secret) << "a live slot's secret is wrong";
      ASSERT_FALSE(payload.erase_synced) << "an erased payload is back";
      live[generation] = payload;
    }
    if (payload.write_synced && !payload.erase_began) {
      ASSERT_EQ(state, SlotState::kLive) << "a synced payload is lost";
    }
    if (payload.write_synced && payload.erase_began && !payload.erase_synced && !torn) {
      ASSERT_NE(state, SlotState::kNeverStored) << "neither live nor erased";
    }
    ASSERT_NE(state, SlotState::kDamaged) << "a crash is taken for damage";
    if (!payload.erase_began) {
      ASSERT_NE(state, SlotState::kErased);
    }
    if (payload.erase_synced) {
      ASSERT_NE(raw.substr(OffsetOfSlot(payload.ref.slot) + 8, kSlotSecretBytes), payload.secret)
          << "an erased secret is in the file";
    }
  }
  ASSERT_GT(slots.boot_number(), model->boot_number_max);
  ASSERT_GE(slots.synced_sequence(), model->sequence_synced);
  ASSERT_LE(slots.synced_sequence(), model->sequence_tried);
  const std::vector<SlotRef> listed = slots.LiveSlotsBelow(UINT64_MAX, 0, slots.capacity());
  ASSERT_EQ(listed.size(), live.size()) << "a slot lives that nobody wrote";
  ASSERT_EQ(slots.Counts().live, live.size());
  ASSERT_EQ(slots.Counts().free + slots.Counts().live + slots.Counts().damaged, slots.capacity());
  if (!torn) {
    ASSERT_EQ(slots.alarms(), 0u);
  }

  // Opening synced what it found.
  for (auto& [generation, payload] : live) {
    payload.write_synced = true;
    payload.erase_began = payload.erase_done = false;
  }
  model->written = std::move(live);
  model->reserved.clear();
  model->boot_number_max = slots.boot_number();
  model->sequence_tried = model->sequence_synced = slots.synced_sequence();
}

class SlotFileFault : public testing::Test {
 protected:
  static constexpr int kSteps = 40;

  // Opens or creates, and lives up to the first error.
  static void Live(FileSystem* files, const std::string& directory, Model* model,
                   std::mt19937_64* random) {
    auto slots = SlotFile::Exists(files, directory) ? SlotFile::Open(files, directory)
                                                    : SlotFile::Create(files, directory);
    if (!slots.ok()) return;
    model->boot_number_max = (*slots)->boot_number();
    Story story(slots->get(), model, random);
    for (int step = 0; step < kSteps; ++step) {
      if (!story.Step()) return;
    }
  }
};

TEST_F(SlotFileFault, AnyFailedOperationLosesNothingThatWasSynced) {
  const uint64_t seed = RandomSeed();
  uint64_t operations = UINT64_MAX;
  for (uint64_t k = 1; k <= operations; ++k) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << " operation " << k);
    TemporaryDirectory directory;
    std::filesystem::create_directory(directory / "scratch");
    FaultPlan plan;
    FaultFileSystem files(&plan, directory / "scratch");
    plan.FailAt(k, /*and_all_after=*/k % 2 == 0);
    Model model;
    std::mt19937_64 random(seed);
    Live(&files, directory.path(), &model, &random);
    if (!plan.has_failed()) operations = plan.operations();
    plan.NeverFail();
    if (!SlotFile::Exists(&files, directory.path())) continue;
    auto slots = SlotFile::Open(&files, directory.path());
    ASSERT_TRUE(slots.ok()) << slots.status();
    ExpectRecovered(**slots, directory.path(), /*torn=*/true, &model);
    if (HasFailure()) return;
  }
  EXPECT_GT(operations, 30u);
}

TEST_F(SlotFileFault, APowerLossLosesNothingThatWasSynced) {
  const uint64_t seed = RandomSeed();
  std::mt19937_64 random(seed);
  for (int round = 0; round < 60; ++round) {
    TemporaryDirectory directory;
    std::filesystem::create_directory(directory / "scratch");
    FaultPlan plan;
    FaultFileSystem files(&plan, directory / "scratch");
    Model model;
    for (int boot = 0; boot < 6; ++boot) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round << " boot " << boot);
      plan.FailAt(1 + random() % 150, /*and_all_after=*/true);
      Live(&files, directory.path(), &model, &random);
      files.DropUnsynced(&random);
      plan.NeverFail();
      if (!SlotFile::Exists(&files, directory.path())) {
        ASSERT_EQ(model.boot_number_max, 0u) << "the file is gone";
        continue;
      }
      auto slots = SlotFile::Open(&files, directory.path());
      ASSERT_TRUE(slots.ok()) << slots.status();
      ExpectRecovered(**slots, directory.path(), /*torn=*/true, &model);
      if (HasFailure()) return;
    }
  }
}

// Between two processes, neither of which failed: what the second one found must outlive a power
// loss right after it began to serve, synced by the first or not.
TEST_F(SlotFileFault, WhatWasFoundAtStartSurvivesAPowerLoss) {
  const uint64_t seed = RandomSeed();
  std::mt19937_64 random(seed);
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round);
    TemporaryDirectory directory;
    std::filesystem::create_directory(directory / "scratch");
    FaultPlan plan;
    FaultFileSystem files(&plan, directory / "scratch");
    Model model;
    Live(&files, directory.path(), &model, &random);  // and is killed
    {
      auto slots = SlotFile::Open(&files, directory.path());
      ASSERT_TRUE(slots.ok());
      ExpectRecovered(**slots, directory.path(), /*torn=*/false, &model);
    }
    files.DropUnsynced(&random);
    auto slots = SlotFile::Open(&files, directory.path());
    ASSERT_TRUE(slots.ok());
    ExpectRecovered(**slots, directory.path(), /*torn=*/false, &model);
    if (HasFailure()) return;
  }
}

TEST_F(SlotFileFault, AFileWhoseCreationWasInterruptedIsDurableOnceOpened) {
  const uint64_t seed = RandomSeed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20; ++round) {
    TemporaryDirectory directory;
    std::filesystem::create_directory(directory / "scratch");
    FaultPlan plan;
    FaultFileSystem files(&plan, directory / "scratch");
    plan.FailAt(5);  // create, write, sync, rename: then the directory's sync
    ASSERT_FALSE(SlotFile::Create(&files, directory.path()).ok());
    ASSERT_TRUE(SlotFile::Open(&files, directory.path()).ok());
    files.DropUnsynced(&random);
    ASSERT_TRUE(SlotFile::Open(&files, directory.path()).ok());
  }
}

TEST_F(SlotFileFault, AFailedSyncIsNeverFollowedByASuccess) {
  TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "scratch");
  FaultPlan plan;
  FaultFileSystem files(&plan, directory / "scratch");
  auto slots = SlotFile::Create(&files, directory.path());
  ASSERT_TRUE(slots.ok());
  auto leases = (*slots)->Reserve(2);
  ASSERT_TRUE(leases.ok());
  plan.FailAt(2);  // the write is done, its sync fails
  ASSERT_TRUE((*slots)->Write({{(*leases)[0].ref, &(*leases)[0].secret}}).ok());
  EXPECT_EQ((*slots)->Sync().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ((*slots)->Sync().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ((*slots)->Erase({(*leases)[0].ref}).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ((*slots)->Write({{(*leases)[1].ref, &(*leases)[1].secret}}).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ((*slots)->Reserve(1).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(SlotFileFault, AFullDiskRefusesReservationsOnly) {
  TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "scratch");
  FaultPlan plan;
  FaultFileSystem files(&plan, directory / "scratch");
  auto slots = SlotFile::Create(&files, directory.path());
  ASSERT_TRUE(slots.ok());
  auto leases = (*slots)->Reserve((*slots)->capacity());
  ASSERT_TRUE(leases.ok());
  plan.FailAt(1);
  EXPECT_EQ((*slots)->Reserve(1).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE((*slots)->Write({{(*leases)[0].ref, &(*leases)[0].secret}}).ok());
  EXPECT_TRUE((*slots)->Erase({(*leases)[0].ref}).ok());
  EXPECT_TRUE((*slots)->Sync().ok());
  // The one that was freed is given out although its page is full and the file still cannot grow.
  plan.FailAt(1);
  auto again = (*slots)->Reserve(1);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)[0].ref.slot, (*leases)[0].ref.slot);
  EXPECT_TRUE((*slots)->Reserve(1).ok()) << "the disk has room again";
}

}  // namespace
}  // namespace mayfly
