// An operation ends exactly once, whatever ends it, and deadlines come when they are due.
#include "client/operation.h"

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/client_fixture.h"
#include "client/payload_ends.h"

namespace mayfly::client {
namespace {

using ::testing::ElementsAre;
using When = Fault::When;

constexpr absl::Duration kNever = absl::Hours(1);

// Whatever a test expects within this time comes far sooner.
constexpr std::chrono::seconds kPatience(60);

class TestOperation : public CallerOperation<absl::Status> {
 public:
  using CallerOperation::CallerOperation;
  using Operation::CancelWith;
  using Operation::SetDeadline;
};

// Counts the results that come, and keeps the last.
class Results {
 public:
  CallerOperation<absl::Status>::Done Expect() {
    return [this](absl::Status status) {
      MutexLock lock(&mutex_);
      statuses_.push_back(std::move(status));
      changed_.NotifyAll();
    };
  }
  std::vector<absl::Status> WaitFor(size_t count) {
    MutexLock lock(&mutex_);
    while (statuses_.size() < count && changed_.WaitFor(&mutex_, absl::FromChrono(kPatience))) {
    }
    return statuses_;
  }

 private:
  Mutex mutex_;
  ConditionVariable changed_;
  std::vector<absl::Status> statuses_ GUARDED_BY(mutex_);
};

class OperationTest : public ClientFixture {
 protected:
  void OnCoreThread(absl::AnyInvocable<void()> task) {
    Dispatcher::Post(core_->dispatcher(), std::move(task));
  }
  // Until all that was posted before has run.
  void WaitForCoreThread() {
    std::promise<void> ran;
    OnCoreThread([&] { ran.set_value(); });
    ASSERT_EQ(ran.get_future().wait_for(kPatience), std::future_status::ready);
  }
  std::shared_ptr<TestOperation> New(absl::Duration timeout, Results* results) {
    return std::make_shared<TestOperation>(core_, timeout, results->Expect());
  }

  std::shared_ptr<Core> core_ = NewCore();
};

TEST_F(OperationTest, EndsWithTheFirstOfItsResults) {
  Results results;
  const auto operation = New(kNever, &results);
  const Cancellation cancellation;
  ASSERT_TRUE(operation->CancelWith(cancellation));
  OnCoreThread([operation] {
    operation->End(absl::OkStatus());
    operation->End(absl::InternalError("a second answer"));
  });
  WaitForCoreThread();
  cancellation.Cancel();
  WaitForCoreThread();
  EXPECT_THAT(results.WaitFor(1), ElementsAre(absl::OkStatus()));
}

TEST_F(OperationTest, IsNotBegunWhenItIsCancelledAlready) {
  Results results;
  const Cancellation cancellation;
  cancellation.Cancel();
  EXPECT_FALSE(New(kNever, &results)->CancelWith(cancellation));
  EXPECT_THAT(results.WaitFor(1), ElementsAre(CancelledByCaller()));
}

TEST_F(OperationTest, EndsAtItsDeadlineWithItsOwnTimeout) {
  Results results;
  const auto operation = New(absl::Milliseconds(7), &results);
  operation->SetDeadline(operation->end());
  EXPECT_THAT(results.WaitFor(1), ElementsAre(NoAnswerWithin(absl::Milliseconds(7))));
}

TEST_F(OperationTest, HoldsNothingOnceItHasEnded) {
  Results results;
  const auto operation = New(kNever, &results);
  const Cancellation cancellation;
  ASSERT_TRUE(operation->CancelWith(cancellation));
  operation->SetDeadline(operation->end());
  const long held = core_.use_count();
  OnCoreThread([operation] { operation->End(absl::OkStatus()); });
  WaitForCoreThread();
  EXPECT_EQ(core_.use_count(), held - 1);
  EXPECT_EQ(operation->core(), nullptr);
}

// Answer, cancellation and deadline come at the same time, from three threads.
TEST_F(OperationTest, EndsOnceWhateverEndsItFirst) {
  constexpr int kRounds = 2'000;
  Results results;
  for (int round = 0; round < kRounds; ++round) {
    const auto operation = New(absl::Microseconds(round % 50), &results);
    const Cancellation cancellation;
    std::thread canceller([&] { cancellation.Cancel(); });
    operation->CancelWith(cancellation);
    operation->SetDeadline(operation->end());
    OnCoreThread([operation] { operation->End(absl::OkStatus()); });
    canceller.join();
  }
  ASSERT_EQ(results.WaitFor(kRounds).size(), kRounds);
  WaitForCoreThread();
  WaitForCoreThread();
  EXPECT_EQ(results.WaitFor(kRounds).size(), kRounds);
}

TEST_F(OperationTest, MayCancelOthersInItsCallback) {
  Results results;
  const Cancellation cancellation;
  std::vector<std::shared_ptr<TestOperation>> others;
  const auto first = std::make_shared<TestOperation>(
      core_, absl::Milliseconds(5), [&, done = results.Expect()](absl::Status status) mutable {
        cancellation.Cancel();
        done(std::move(status));
      });
  // They are due with the first, and are ended by whichever of the two comes first.
  for (int i = 0; i < 100; ++i) {
    others.push_back(New(absl::Milliseconds(5), &results));
    ASSERT_TRUE(others.back()->CancelWith(cancellation));
  }
  first->SetDeadline(first->end());
  for (const auto& other : others) other->SetDeadline(first->end());
  EXPECT_EQ(results.WaitFor(101).size(), 101);
  WaitForCoreThread();
  EXPECT_EQ(results.WaitFor(101).size(), 101);
}

TEST_F(OperationTest, MayEndAnotherThatIsDueAtTheSameTime) {
  Results results;
  std::shared_ptr<TestOperation> second;
  const auto first = std::make_shared<TestOperation>(
      core_, absl::Milliseconds(5), [&, done = results.Expect()](absl::Status status) mutable {
        second->End(absl::OkStatus());
        done(std::move(status));
      });
  second = New(absl::Milliseconds(5), &results);
  const absl::Duration due = Elapsed() + absl::Milliseconds(5);
  first->SetDeadline(due);
  second->SetDeadline(due);
  EXPECT_THAT(results.WaitFor(2),
              ElementsAre(absl::OkStatus(), NoAnswerWithin(absl::Milliseconds(5))));
}

// Deadlines ------------------------------------------------------------------------------------

class Alarms : public Deadlines::Listener {
 public:
  explicit Alarms(std::function<void()> on_deadline) : on_deadline_(std::move(on_deadline)) {}
  void OnDeadline() override { on_deadline_(); }

 private:
  const std::function<void()> on_deadline_;
};

TEST_F(OperationTest, ADeadlineThatIsMovedForwardComesEarlier) {
  std::promise<void> rang;
  const auto alarms = std::make_shared<Alarms>([&] { rang.set_value(); });
  Deadline deadline(core_->deadlines());
  deadline.Set(Elapsed() + kNever, alarms);
  deadline.SetNoLaterThan(Elapsed() + 2 * kNever, alarms);
  deadline.SetNoLaterThan(Elapsed() + absl::Milliseconds(1), alarms);
  EXPECT_EQ(rang.get_future().wait_for(kPatience), std::future_status::ready);
}

TEST_F(OperationTest, ADeadlineThatIsClearedDoesNotCome) {
  std::atomic<int> rings = 0;
  const auto cleared = std::make_shared<Alarms>([&] { ++rings; });
  std::promise<void> later;
  const auto last = std::make_shared<Alarms>([&] { later.set_value(); });
  Deadline one(core_->deadlines());
  Deadline other(core_->deadlines());
  one.Set(Elapsed() + absl::Milliseconds(2), cleared);
  other.Set(Elapsed() + absl::Milliseconds(20), last);
  one.Clear();
  EXPECT_EQ(later.get_future().wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(rings, 0);
}

TEST_F(OperationTest, AListenerThatIsAlwaysDueDoesNotKeepTheThread) {
  std::unique_ptr<Deadline> deadline;
  std::atomic<int> rings = 0;
  std::shared_ptr<Alarms> alarms;
  alarms = std::make_shared<Alarms>([&] {
    if (++rings < 1'000) deadline->Set(Elapsed() - absl::Seconds(1), alarms);
  });
  deadline = std::make_unique<Deadline>(core_->deadlines());
  OnCoreThread([&] { deadline->Set(Elapsed(), alarms); });
  EXPECT_TRUE(client_.PutInput({}).ok());
  WaitForCoreThread();
  while (rings < 1'000) WaitForCoreThread();
}

// Through the client ----------------------------------------------------------------------------

// Every kind of callback, cancelled before it is asked for, while it is under way, and when some of
// its neighbours or all that can be answered were: each comes exactly once.
TEST_F(OperationTest, EveryCallbackComesOnceWheneverItIsCancelled) {
  constexpr int kRounds = 70;
  constexpr int kAnswerable = 6;  // of the nine that are asked for in a round
  std::atomic<int> answers = 0;
  int asked = 0;
  const auto count = [&](const auto&) { ++answers; };
  for (int round = 0; round < kRounds; ++round) {
    const std::string call = client_.PutInput({})->call_id;
    const std::string ready = NewReadyCall("42");
    const absl::StatusOr<ClaimedOutput> held = client_.AwaitOutput(ready);
    ASSERT_TRUE(held.ok()) << held.status();
    if (round % 3 == 0) server_.FailNext("PutInputs", {.when = When::kAfter});
    const Cancellation cancellation;
    const CallOptions options{.cancellation = cancellation};
    const int answers_before = answers;
    std::thread canceller([&] {
      while (answers - answers_before < round % (kAnswerable + 1)) std::this_thread::yield();
      cancellation.Cancel();
    });
    client_.PutInputAsync({}, count, options);
    client_.PutInputAsync({.payload = {.data = Pattern(kMiB + 1)}}, count, options);
    client_.PutInputsAsync({{}, {}}, count, options);
    client_.GetInputAsync(call, count, options);
    client_.DescribeCallsAsync({call}, count, options);
    client_.ClaimOutputsAsync({call}, count, {.wait = kNever, .cancellation = cancellation});
    client_.AwaitOutputAsync(call, count, {.wait = kNever, .cancellation = cancellation});
    client_.AwaitOutputAsync(
        call, count, {.wait = kNever, .lease = absl::Seconds(5), .cancellation = cancellation});
    client_.AckOutputAsync(held->claim, count, options);
    asked += 9;
    canceller.join();
  }
  const absl::Time until = absl::Now() + absl::FromChrono(kPatience);
  while (answers < asked && absl::Now() < until) ASSERT_TRUE(client_.PutInput({}).ok());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(client_.PutInput({}).ok());
  EXPECT_EQ(answers, asked);
}

// The one with the short timeout ends by itself; the others stay.
TEST_F(OperationTest, OneOfTenThousandCallsUnderWayEndsAtItsTimeout) {
  constexpr int kCalls = 10'000;
  server_.FailAlways("PutInputs", {.when = When::kSilence});
  const Cancellation cancellation;
  std::atomic<int> others = 0;
  std::promise<absl::Status> one;
  for (int i = 0; i < kCalls; ++i) {
    if (i == kCalls / 2) {
      client_.PutInputAsync(
          {}, [&](const absl::StatusOr<Stored>& stored) { one.set_value(stored.status()); },
          {.timeout = absl::Milliseconds(40)});
    }
    client_.PutInputAsync({}, [&](const absl::StatusOr<Stored>&) { ++others; },
                          {.timeout = kNever, .cancellation = cancellation});
  }
  EXPECT_EQ(one.get_future().get(), NoAnswerWithin(absl::Milliseconds(40)));
  EXPECT_EQ(others, 0);
  cancellation.Cancel();
  const absl::Time until = absl::Now() + absl::FromChrono(kPatience);
  while (others < kCalls && absl::Now() < until) client_.DescribeCall("x").IgnoreError();
  EXPECT_EQ(others, kCalls);
}

}  // namespace
}  // namespace mayfly::client
