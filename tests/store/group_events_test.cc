// What the observers of a store are told, and when.
#include "store/group_events.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "base/mutex.h"
#include "store/gate.h"
#include "store/store_harness.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class RecordingObserver final : public GroupObserver {
 public:
  void OnGroupEvents(uint32_t, absl::Span<const GroupEvent> events) override {
    MutexLock lock(&mutex_);
    events_.insert(events_.end(), events.begin(), events.end());
  }
  std::vector<GroupEvent> Take() {
    MutexLock lock(&mutex_);
    return std::exchange(events_, {});
  }
  std::vector<std::string> TakeNames() {
    static constexpr const char* kNames[] = {"none",    "stored",  "claimed", "acknowledged",
                                             "deleted", "expired", "refused", "cleared"};
    std::vector<std::string> names;
    for (const GroupEvent& event : Take()) {
      names.push_back(absl::StrCat(kNames[static_cast<int>(event.kind)], " ", event.change.calls,
                                   " ", event.change.bytes));
    }
    return names;
  }

 private:
  Mutex mutex_;
  std::vector<GroupEvent> events_ GUARDED_BY(mutex_);
};

class GroupEventsTest : public testing::Test {
 protected:
  GroupEventsTest() {
    harness_.observers = {&observer_};
    harness_.Open();
  }

  RecordingObserver observer_;
  StoreHarness harness_;
};

TEST_F(GroupEventsTest, TellsWhatBecomesOfACall) {
  const CallId id = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(id, "input").status.ok());
  EXPECT_THAT(observer_.TakeNames(), ElementsAre("stored 1 5"));
  ASSERT_TRUE(harness_.PutInput(id, "input").status.ok());
  EXPECT_THAT(observer_.TakeNames(), IsEmpty()) << "it was stored already";
  ASSERT_TRUE(harness_.PutOutput(id, "output").status.ok());
  ASSERT_TRUE(harness_.PutOutput(id, "out", 2).status.ok());
  EXPECT_THAT(observer_.TakeNames(), ElementsAre("stored 0 6", "stored 0 -3"));
  const ClaimResponse claimed = harness_.Claim(id, 1);
  EXPECT_THAT(observer_.TakeNames(), ElementsAre("claimed 0 0"));
  ASSERT_EQ(harness_.Claim(id, 1).outputs.size(), 1u);
  EXPECT_THAT(observer_.TakeNames(), IsEmpty()) << "the same claim";
  ASSERT_TRUE(harness_.Ack(id, 1, claimed.outputs.at(0).fence).status.ok());
  EXPECT_THAT(observer_.TakeNames(), ElementsAre("acknowledged -1 -8"));

  const CallId deleted = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(deleted, "input").status.ok());
  ASSERT_TRUE(harness_.Delete(deleted).status.ok());
  EXPECT_THAT(observer_.TakeNames(), ElementsAre("stored 1 5", "deleted -1 -5"));

  ASSERT_TRUE(harness_.PutInput(harness_.NewId(), "in", absl::Seconds(10)).status.ok());
  harness_.clock.Advance(absl::Seconds(11));
  harness_.store()->Tick();
  EXPECT_THAT(observer_.TakeNames(), ElementsAre("stored 1 2", "expired -1 -2"));
}

TEST_F(GroupEventsTest, TellsWhatIsRefusedAndWhy) {
  const CallId id = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(id, "input").status.ok());
  observer_.Take();
  EXPECT_FALSE(harness_.PutInput(id, "other").status.ok());
  EXPECT_FALSE(harness_.Ack(id, 1, 1).status.ok());
  const std::vector<GroupEvent> events = observer_.Take();
  ASSERT_EQ(events.size(), 2u);
  for (const GroupEvent& event : events) {
    EXPECT_EQ(event.kind, GroupEvent::Kind::kRefused);
    EXPECT_EQ(event.tenant, harness_.tenant());
    EXPECT_EQ(event.key.id, id);
    EXPECT_TRUE(event.change.empty());
  }
  EXPECT_EQ(ReasonOf(events[0].status), Reason::kCallConflict);
}

TEST_F(GroupEventsTest, TellsNothingBeforeItIsDurableAndAllBeforeTheAnswer) {
  Gate gate;
  harness_.hooks.sync = gate.hook();
  std::vector<std::string> told;
  Awaited<std::vector<PutResult>> answer;
  harness_.store()->Put(
      harness_.tenant(),
      {{.call_id = harness_.NewId(), .payload = MakePayload("input"), .ttl_ms = 60'000}},
      [&, done = answer.callback()](std::vector<PutResult> results) mutable {
        told = observer_.TakeNames();
        done(std::move(results));
      });
  gate.WaitUntilReached();
  EXPECT_THAT(observer_.TakeNames(), IsEmpty());
  EXPECT_EQ(harness_.tenant()->ledger.live_calls(), 0);
  EXPECT_EQ(harness_.tenant()->ledger.taken_calls(), 1) << "it counts against the quota";
  gate.Open();
  EXPECT_TRUE(answer.Get()[0].status.ok());
  EXPECT_THAT(told, ElementsAre("stored 1 5"));
  EXPECT_EQ(harness_.tenant()->ledger.live_calls(), 1);
}

TEST_F(GroupEventsTest, TellsNothingOfWhatAFailedSyncLeavesUncertain) {
  const CallId id = harness_.NewId();
  ASSERT_TRUE(harness_.PutInput(id, "input").status.ok());
  observer_.Take();
  harness_.hooks.sync = [] { return absl::UnavailableError("the disk failed"); };
  EXPECT_FALSE(harness_.Delete(id).status.ok());
  EXPECT_THAT(observer_.TakeNames(), IsEmpty());
}

}  // namespace
}  // namespace mayfly
