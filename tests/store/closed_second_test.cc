// A closed second ends all that was due in it, whatever becomes of its rows and slots afterwards.
#include <map>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "base/error.h"
#include "base/file_system.h"
#include "keys/keyring.h"
#include "storage/secrets.h"
#include "store/store_harness.h"

namespace mayfly {
namespace {

class ClosedSecond : public testing::Test {
 protected:
  ClosedSecond() {
    // The sweep finds nothing while this is set: rows and slots stay as they are.
    harness_.hooks.due = [this] {
      return sweeps_ ? absl::OkStatus() : absl::UnavailableError("no sweep");
    };
    harness_.hooks.loaded = [this](absl::Span<const CallKey> keys, absl::Span<LoadedCall> calls) {
      for (size_t i = 0; i < keys.size(); ++i) {
        if (calls[i].state.input) loaded_[keys[i].id] = *calls[i].state.input;
      }
    };
  }

  CallId PutInput(absl::Duration ttl) {
    const CallId id = harness_.NewId();
    EXPECT_TRUE(harness_.PutInput(id, "in", ttl).status.ok());
    EXPECT_TRUE(harness_.GetInput(id).status.ok());
    return id;
  }
  // Lets time go by in steps in which a server reads its clocks.
  void Pass(absl::Duration duration) {
    for (absl::Duration gone; gone < duration; gone += absl::Seconds(30)) {
      harness_.clock.Advance(absl::Seconds(30));
      harness_.store()->Tick();
    }
  }
  // The input as the store last loaded it.
  StoredPayload Loaded(const CallId& id) {
    (void)harness_.Phase(id);
    return loaded_.at(id);
  }
  // What a thief of data directory and root key gets: the store must be closed.
  bool CanBeOpenedFromTheFiles(const StoredPayload& payload) {
    const std::string root_key = StoreHarness::RootKey();
    auto keyring = Keyring::Open(PosixFileSystem(), harness_.data_dir() + "/keys",
                                 SecretBytes(AsBytes(root_key)));
    EXPECT_TRUE(keyring.ok()) << keyring.status();
    return (*keyring)->Extract(SecondOf(payload), AsBytes("a secret")).ok();
  }

  bool sweeps_ = false;
  std::map<CallId, StoredPayload> loaded_;
  StoreHarness harness_;
};

TEST_F(ClosedSecond, EndsAllThatIsDueInItAlsoWhenNothingIsSwept) {
  harness_.Open();
  std::vector<CallId> due;
  for (int i = 0; i < 300; ++i) due.push_back(PutInput(absl::Seconds(5)));
  const CallId later = PutInput(absl::Seconds(8));
  harness_.clock.Advance(absl::Seconds(6));
  harness_.store()->Tick();
  EXPECT_EQ(harness_.tenant()->ledger.live_calls(), 301) << "their rows are there";
  std::vector<StoredPayload> ended;
  for (const CallId& id : due) {
    EXPECT_EQ(ReasonOf(harness_.GetInput(id).status), Reason::kCallExpired);
    ended.push_back(Loaded(id));
    EXPECT_TRUE(ended.back().erased);
  }
  EXPECT_TRUE(harness_.GetInput(later).status.ok());
  const StoredPayload open = Loaded(later);
  EXPECT_FALSE(open.erased);
  harness_.Close();
  for (const StoredPayload& payload : ended) EXPECT_FALSE(CanBeOpenedFromTheFiles(payload));
  EXPECT_TRUE(CanBeOpenedFromTheFiles(open));

  harness_.Open();
  for (const CallId& id : due) {
    EXPECT_EQ(ReasonOf(harness_.GetInput(id).status), Reason::kCallExpired);
    EXPECT_EQ(ReasonOf(harness_.PutInput(id, "in").status), Reason::kCallExpired);
  }
  EXPECT_EQ(harness_.GetInput(later).payload->data, "in");
  sweeps_ = true;
  harness_.store()->Tick();
  EXPECT_EQ(harness_.tenant()->ledger.live_calls(), 1);
  for (const CallId& id : due) EXPECT_EQ(harness_.Phase(id), CallPhase::kExpired);
}

// A clock that was ahead for longer than the grace is trusted, and corrected later.
TEST_F(ClosedSecond, StaysEndedWhenAClockIsSetBackAndIsSealedUnderNeverAgain) {
  harness_.Open();
  const CallId ended = PutInput(absl::Hours(2));
  const CallId kept = PutInput(absl::Hours(20));
  const StoredPayload before = Loaded(ended);
  harness_.clock.JumpWall(absl::Hours(3));
  Pass(absl::Minutes(20));
  EXPECT_EQ(ReasonOf(harness_.GetInput(ended).status), Reason::kCallExpired);
  harness_.clock.JumpWall(-absl::Hours(3));
  Pass(absl::Minutes(20));

  // Its deadline lies ahead again by both clocks.
  EXPECT_EQ(ReasonOf(harness_.GetInput(ended).status), Reason::kCallExpired);
  EXPECT_TRUE(harness_.GetInput(kept).status.ok());
  const CallId fresh = PutInput(absl::Minutes(80));
  const StoredPayload again = Loaded(fresh);
  EXPECT_EQ(HourOfSecond(DueSecond(again.deadline_ms)),
            HourOfSecond(DueSecond(before.deadline_ms)));
  EXPECT_GT(again.hour_key, before.hour_key);
  harness_.Reopen();
  EXPECT_EQ(ReasonOf(harness_.GetInput(ended).status), Reason::kCallExpired);
  EXPECT_TRUE(harness_.GetInput(fresh).status.ok());
  sweeps_ = true;
  Pass(absl::Hours(2));
  EXPECT_EQ(harness_.tenant()->ledger.live_calls(), 1);
  EXPECT_TRUE(harness_.GetInput(kept).status.ok());
}

// After a start too, an idle store leaves the disk alone but where something is due, and there it closes.
TEST_F(ClosedSecond, WritesAfterARestartOnlyWhereSomethingIsDue) {
  sweeps_ = true;
  harness_.Open();
  const CallId id = PutInput(absl::Seconds(40));
  const StoredPayload payload = Loaded(id);
  harness_.Reopen();
  harness_.store()->Tick();
  const auto keyring_file = [this] {
    auto content = ReadFile(PosixFileSystem(), harness_.data_dir() + "/keys/keyring", 1 << 20);
    EXPECT_TRUE(content.ok()) << content.status();
    return *content;
  };
  harness_.clock.Advance(absl::Seconds(2));
  harness_.store()->Tick();
  const std::string before = keyring_file();
  for (int i = 0; i < 30; ++i) {
    harness_.clock.Advance(absl::Seconds(1));
    harness_.store()->Tick();
  }
  EXPECT_TRUE(keyring_file() == before);
  EXPECT_TRUE(harness_.GetInput(id).status.ok());
  harness_.clock.Advance(absl::Seconds(10));
  harness_.store()->Tick();
  EXPECT_FALSE(keyring_file() == before);
  harness_.Close();
  EXPECT_FALSE(CanBeOpenedFromTheFiles(payload));
}

// Nothing is closed while the clock is not trusted.
TEST_F(ClosedSecond, WaitsForATrustedClock) {
  harness_.Open();
  const CallId id = PutInput(absl::Minutes(5));
  const StoredPayload payload = Loaded(id);
  harness_.Close();
  harness_.clock.Reboot("boot-2");
  harness_.clock.JumpWall(absl::Minutes(10));
  harness_.clock.SetSynchronised(false);
  harness_.Open();
  harness_.store()->Tick();
  EXPECT_EQ(ReasonOf(harness_.GetInput(id).status), Reason::kCallExpired);
  harness_.Close();
  EXPECT_TRUE(CanBeOpenedFromTheFiles(payload));
  harness_.clock.SetSynchronised(true);
  harness_.Open();
  harness_.store()->Tick();
  harness_.Close();
  EXPECT_FALSE(CanBeOpenedFromTheFiles(payload));
}

}  // namespace
}  // namespace mayfly
