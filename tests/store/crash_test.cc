// The promises "kept" and "gone" for the whole store: the k-th disk operation fails, for every k,
// and power is lost at random points. All answers given before must hold afterwards.
#include <map>
#include <random>

#include "gtest/gtest.h"

#include "base/error.h"
#include "store/store_harness.h"
#include "support/fault_file_system.h"
#include "support/fault_plan.h"
#include "support/fault_rocksdb.h"
#include "support/random_seed.h"

namespace mayfly {
namespace {

std::string InputOf(const CallId& id) { return "input of " + id.ToString(); }
std::string OutputOf(const CallId& id, uint32_t attempt) {
  // Some are large enough for segments.
  std::string output = "output " + std::to_string(attempt) + " of " + id.ToString();
  if (attempt == 2) output.resize(100'000, 'x');
  if (attempt == 3) output.resize(1'200'000, 'y');
  return output;
}

// The requests for a call and their answers.
struct Told {
  bool input_asked = false;
  bool input_ok = false;
  uint32_t output_asked = 0;  // the highest attempt
  uint32_t output_ok = 0;
  bool end_asked = false;
  bool end_ok = false;
  int64_t deadline_ms = 0;
};

class CrashStory {
 public:
  explicit CrashStory(uint64_t seed)
      : random_(seed),
        files_(&plan, scratch_[0].path()),
        rocksdb_files_(std::make_shared<FaultRocksFileSystem>(&plan, scratch_[1].path())) {
    harness.file_system = &files_;
    harness.rocksdb_file_system = rocksdb_files_;
  }

  // One random step in the life of one of a few calls. False once the store has failed.
  bool Step() {
    if (ids_.size() < 6 || random_() % 4 == 0) {
      const CallId id = harness.NewId();
      ids_.push_back(id);
      Told& told = told_[id];
      told.input_asked = true;
      const PutResult put = harness.PutInput(id, InputOf(id), absl::Minutes(1 + random_() % 5));
      told.input_ok = put.status.ok();
      told.deadline_ms = put.deadline_ms;
      return !harness.has_failed();
    }
    const CallId id = ids_[random_() % ids_.size()];
    Told& told = told_[id];
    switch (random_() % 6) {
      case 0:
      case 1: {
        const uint32_t attempt = told.output_asked + 1;
        const PutResult put = attempt % 3 == 0
                                  ? UploadOutput(id, attempt)
                                  : harness.PutOutput(id, OutputOf(id, attempt), attempt);
        // Only what could have changed something counts as asked.
        const bool was_refused = !put.status.ok() && !absl::IsUnavailable(put.status);
        if (!was_refused && !told.end_asked) told.output_asked = attempt;
        if (put.status.ok() && put.deadline_ms != 0) told.output_ok = attempt;
        break;
      }
      case 2:
      case 3: {
        const ClaimResponse claim = harness.Claim(id, 1);
        if (claim.outputs.empty()) break;
        told.end_asked = true;
        told.end_ok |= harness.Ack(id, 1, claim.outputs[0].fence).status.ok();
        break;
      }
      case 4:
        if (random_() % 4 != 0) break;
        told.end_asked = true;
        told.end_ok |= harness.Delete(id).status.ok();
        break;
      default:
        harness.clock.Advance(absl::Seconds(random_() % 30));
        harness.store()->Tick();
    }
    return !harness.has_failed();
  }

  // Nothing is written from now on; what was not synced is lost, for each file by itself.
  void CutPower() {
    plan.FailFromNowOn();
    harness.Close();
    files_.DropUnsynced(&random_);
    rocksdb_files_->DropUnsynced(&random_);
    plan.NeverFail();
  }
  void Kill() {
    plan.FailFromNowOn();
    harness.Close();
    plan.NeverFail();
  }

  void CheckPromises() {
    const int64_t now_ms = absl::ToUnixMillis(harness.clock.Read().wall);
    for (const auto& [id, told] : told_) {
      SCOPED_TRACE(id.ToString());
      ClaimResponse claim = harness.Claim(id, 1'000'000);
      const InputResult input = harness.GetInput(id);
      if (told.end_ok) {
        EXPECT_TRUE(claim.outputs.empty()) << "an ended call came back";
        EXPECT_FALSE(input.status.ok()) << "an ended call came back";
        continue;
      }
      if (input.status.ok()) {
        EXPECT_EQ(input.payload->data, InputOf(id));
      }
      const bool may_have_ended = told.end_asked || told.deadline_ms <= now_ms;
      if (told.input_ok && !may_have_ended) {
        EXPECT_TRUE(input.status.ok()) << input.status;
      }
      if (!claim.outputs.empty()) {
        const uint32_t attempt = claim.outputs[0].stored.attempt;
        EXPECT_GE(attempt, told.output_ok) << "an older output came back";
        EXPECT_LE(attempt, told.output_asked);
        EXPECT_EQ(claim.outputs[0].payload->data, OutputOf(id, attempt));
        EXPECT_TRUE(harness.Release(id, 1'000'000, claim.outputs[0].fence).ok());
      } else if (told.output_ok > 0 && !told.end_asked) {
        ADD_FAILURE() << "an output was lost: "
                      << (claim.ended.empty() ? "pending" : claim.ended[0].status.ToString());
      }
    }
    // The result of unanswered requests is now decided and must not change.
    for (auto& [id, told] : told_) {
      const CallPhase phase = harness.Phase(id);
      told.end_asked = told.end_ok =
          told.end_ok || phase == CallPhase::kConsumed || phase == CallPhase::kDeleted;
    }
  }

  FaultPlan plan;

 private:
  // Every other one breaks off, and its like follows it.
  PutResult UploadOutput(const CallId& id, uint32_t attempt) {
    NewUpload upload;
    upload.call_id = id;
    upload.kind = PayloadKind::kOutput;
    upload.attempt = attempt;
    upload.ttl_ms = 3'600'000;
    upload.metadata = MakePayload(OutputOf(id, attempt)).metadata;
    upload.id[0] = ++last_upload_;
    if (random_() % 2 == 0) {
      const auto broken = harness.BeginUpload(upload);
      if (broken.ok() && broken->stream != nullptr) {
        (void)StoreHarness::Append(*broken, 0, OutputOf(id, attempt));
      }
      upload.id[0] = ++last_upload_;
    }
    const auto deadline_ms = harness.Upload(upload, OutputOf(id, attempt));
    return {.status = deadline_ms.status(), .deadline_ms = deadline_ms.value_or(0)};
  }

  uint8_t last_upload_ = 0;
  std::mt19937_64 random_;
  TemporaryDirectory scratch_[2];
  FaultFileSystem files_;
  std::shared_ptr<FaultRocksFileSystem> rocksdb_files_;

 public:
  StoreHarness harness;  // after the file systems that it uses

 private:
  std::vector<CallId> ids_;
  std::map<CallId, Told> told_;
};

// The same story every time, so that the k-th operation means the same.
constexpr uint64_t kStorySeed = 7;
constexpr int kStorySteps = 40;

TEST(StoreCrash, WhateverOperationFailsNothingAnsweredIsBroken) {
  uint64_t operations = 0;
  {
    CrashStory story(kStorySeed);
    story.harness.Open();
    story.plan.NeverFail();
    for (int i = 0; i < kStorySteps; ++i) ASSERT_TRUE(story.Step());
    operations = story.plan.operations();
  }
  ASSERT_GT(operations, 50);
  for (uint64_t k = 1; k <= operations; ++k) {
    SCOPED_TRACE("operation " + std::to_string(k));
    CrashStory story(kStorySeed);
    story.harness.Open();
    story.plan.FailAt(k);
    for (int i = 0; i < kStorySteps && story.Step(); ++i) {
    }
    story.Kill();
    story.harness.Open();
    story.CheckPromises();
    if (testing::Test::HasFailure()) return;
  }
}

TEST(StoreCrash, APowerLossAtAnyMomentLosesNothingAnswered) {
  const uint64_t seed = RandomSeed();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  for (int round = 0; round < 30; ++round) {
    SCOPED_TRACE("seed " + std::to_string(seed) + " round " + std::to_string(round));
    CrashStory story(random());
    story.harness.Open();
    for (int crash = 0; crash < 3; ++crash) {
      const bool dies_in_operation = random() % 2 == 0;
      if (dies_in_operation) story.plan.FailAt(1 + random() % 120, /*and_all_after=*/true);
      for (int i = 0; i < 40 && story.Step(); ++i) {
      }
      story.CutPower();
      story.harness.Open();
      story.CheckPromises();
      if (testing::Test::HasFailure()) return;
    }
  }
}

// A failure that no caller is told of: here of the hourly flush, elsewhere of RocksDB's own threads.
TEST(StoreCrash, AFailureInTheBackgroundEndsTheProcessToo) {
  CrashStory story(1);
  story.harness.Open();
  const CallId id = story.harness.NewId();
  ASSERT_TRUE(story.harness.PutInput(id, InputOf(id)).status.ok());
  story.plan.FailFromNowOn();
  story.harness.clock.Advance(absl::Minutes(61));
  story.harness.store()->Tick();
  story.harness.store()->Tick();
  EXPECT_TRUE(story.harness.has_failed());
  story.harness.Close();
}

// Of a keyring that is changed by half nobody knows which keys are on the disk: a process that goes on
// would destroy none of those that have passed.
TEST(StoreCrash, AKeyringThatFailsEndsTheProcess) {
  int failures = 0;
  for (uint64_t operation = 1;; ++operation) {
    SCOPED_TRACE(operation);
    CrashStory story(1);
    story.harness.Open();
    story.harness.clock.Advance(absl::Minutes(61));
    story.plan.FailAt(operation);
    story.harness.store()->Tick();
    const bool was_reached = story.plan.has_failed();
    story.plan.NeverFail();
    // What has changed nothing is tried again. Else the keys of these hours would be missing.
    for (int hour = 0; hour < 3; ++hour) {
      story.harness.clock.Advance(absl::Minutes(61));
      story.harness.store()->Tick();
      story.harness.store()->Tick();
    }
    if (story.harness.has_failed()) {
      ++failures;
    } else {
      const CallId id = story.harness.NewId();
      EXPECT_TRUE(story.harness.PutInput(id, InputOf(id), absl::Hours(24)).status.ok());
    }
    story.harness.Close();
    if (!was_reached) break;
  }
  EXPECT_GT(failures, 0);
}

// A put makes the keys of its hour when steady time has jumped ahead of upkeep.
TEST(StoreCrash, AKeyringThatFailsInAPutEndsTheProcess) {
  for (uint64_t operation = 1; operation <= 4; ++operation) {
    SCOPED_TRACE(operation);
    CrashStory story(1);
    story.harness.Open();
    story.harness.clock.Advance(absl::Hours(30));
    story.plan.FailAt(operation);
    const CallId id = story.harness.NewId();
    EXPECT_EQ(story.harness.PutInput(id, InputOf(id), absl::Hours(24)).status.code(),
              absl::StatusCode::kUnavailable);
    EXPECT_TRUE(story.plan.has_failed());
    story.plan.NeverFail();
    story.harness.store()->Tick();
    EXPECT_TRUE(story.harness.has_failed());
    story.harness.Close();
  }
}

// Nor does an ack: what may be lost with it is the memory of how the call ended.
TEST(StoreCrash, RelaxedPutsMayBeLostButNoErasureIs) {
  const uint64_t seed = RandomSeed();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    CrashStory story(random());
    story.harness.config.storage.durability = Config::Durability::kRelaxed;
    story.harness.Open();
    std::vector<CallId> acked;
    for (int i = 0; i < 10; ++i) {
      const CallId id = story.harness.NewId();
      ASSERT_TRUE(story.harness.PutInput(id, InputOf(id)).status.ok());
      ASSERT_TRUE(story.harness.PutOutput(id, OutputOf(id, 1)).status.ok());
      if (random() % 2 == 0) continue;
      const ClaimResponse claim = story.harness.Claim(id, 1);
      ASSERT_TRUE(story.harness.Ack(id, 1, claim.outputs.at(0).fence).status.ok());
      acked.push_back(id);
    }
    story.CutPower();
    story.harness.Open();
    for (const CallId& id : acked) {
      const CallPhase phase = story.harness.Phase(id);
      EXPECT_TRUE(phase == CallPhase::kConsumed || phase == CallPhase::kExpired ||
                  phase == CallPhase::kUnknown);
      EXPECT_FALSE(story.harness.GetInput(id).status.ok());
      EXPECT_TRUE(story.harness.Claim(id, 2).outputs.empty());
    }
  }
}

}  // namespace
}  // namespace mayfly
