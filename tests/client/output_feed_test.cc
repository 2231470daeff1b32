// What an output feed says to the server, and when.
#include "client/output_feed.h"

#include <algorithm>
#include <memory>
#include <set>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/client_fixture.h"

namespace mayfly::client {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAreArray;

class RecordingListener : public OutputFeed::Listener {
 public:
  void OnOutput(const std::string&, v1::ClaimedOutput* output) override {
    Record(output->call_id());
  }
  void OnStrayOutput(const Claim& claim) override { Record("stray " + claim.call_id); }
  void OnEnded(const std::string& call_id, const absl::Status&) override {
    Record("end " + call_id);
  }

  // The first `count` of what was told, in the order of the alphabet.
  std::vector<std::string> Await(size_t count) {
    MutexLock lock(&mutex_);
    const absl::Duration patience = absl::Seconds(20);
    while (told_.size() < count && changed_.WaitFor(&mutex_, patience)) {
    }
    return {told_.begin(), told_.end()};
  }

 private:
  void Record(const std::string& event) {
    MutexLock lock(&mutex_);
    told_.insert(event);
    changed_.NotifyAll();
  }

  Mutex mutex_;
  ConditionVariable changed_;
  std::multiset<std::string> told_ GUARDED_BY(mutex_);
};

class OutputFeedTest : public ClientFixture {
 protected:
  ~OutputFeedTest() override {
    if (feed_ != nullptr) feed_->Close();
  }

  void Open() { feed_ = std::make_shared<OutputFeed>(settings_, core_->deadlines(), listener_); }
  std::vector<std::string> Subscribed() {
    std::vector<std::string> ids;
    for (const auto& request : server_.RequestsOf<v1::SubscriptionRequest>()) {
      ids.insert(ids.end(), request.subscribe_call_ids().begin(),
                 request.subscribe_call_ids().end());
    }
    return ids;
  }
  std::string NewCall(const std::string& id) { return client_.PutInput({.call_id = id})->call_id; }

  std::shared_ptr<Core> core_ = NewCore();
  OutputFeed::Settings settings_ = OutputFeed::SettingsOf(QuickOptions());
  const std::shared_ptr<RecordingListener> listener_ = std::make_shared<RecordingListener>();
  std::shared_ptr<OutputFeed> feed_;
};

TEST_F(OutputFeedTest, OpensNothingBeforeThereIsSomethingToWaitFor) {
  Open();
  feed_->Unsubscribe({"a"});
  feed_->ReturnCredit(0, 0);
  EXPECT_EQ(server_.CountOf("Subscription"), 0);
  feed_->Subscribe(core_, {"nobody"});
  EXPECT_THAT(listener_->Await(1), ElementsAre("end nobody"));
  EXPECT_EQ(server_.CountOf("Subscription"), 1);
}

// A stream that asked for more than the server's limit would be refused, for all of its calls.
TEST_F(OutputFeedTest, NeverSubscribesMoreThanTheServerTakesAtATime) {
  settings_.subscriptions_max = 4;
  Open();
  std::vector<std::string> ids;
  for (int i = 0; i < 7; ++i) ids.push_back(NewCall(absl::StrCat("call-", i)));
  feed_->Subscribe(core_, ids);
  ASSERT_TRUE(server_.WaitFor("SubscriptionMessage", 1));
  const std::vector<std::string> first = Subscribed();
  ASSERT_THAT(first, SizeIs(4));
  server_.AddOutput(first[0], 1, "x");
  EXPECT_THAT(listener_->Await(1), ElementsAre(first[0]));
  ASSERT_TRUE(server_.WaitFor("SubscriptionMessage", 2));
  EXPECT_THAT(Subscribed(), SizeIs(5));
  feed_->Unsubscribe({first[1]});
  ASSERT_TRUE(server_.WaitFor("SubscriptionMessage", 3));
  EXPECT_THAT(Subscribed(), SizeIs(6));
  for (const std::string& id : ids) server_.AddOutput(id, 1, "x");
  ids.erase(std::find(ids.begin(), ids.end(), first[1]));
  EXPECT_THAT(listener_->Await(6), UnorderedElementsAreArray(ids));
}

TEST_F(OutputFeedTest, CountsAnewWhenTheStreamIsAnother) {
  settings_.subscriptions_max = 2;
  Open();
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(NewCall(absl::StrCat("call-", i)));
  server_.FailNext("Subscription", {.when = Fault::When::kBroken, .item = 0});
  feed_->Subscribe(core_, ids);
  for (const std::string& id : ids) server_.AddOutput(id, 1, "x");
  EXPECT_THAT(listener_->Await(5), UnorderedElementsAreArray(ids));
}

TEST_F(OutputFeedTest, ACallThatIsWaitedForAgainAtOnceIsStillTold) {
  Open();
  const std::string id = NewCall("call");
  for (int round = 0; round < 20; ++round) {
    feed_->Subscribe(core_, {id});
    feed_->Unsubscribe({id});
  }
  feed_->Subscribe(core_, {id});
  server_.AddOutput(id, 1, "x");
  // The server may have been asked twice before it had the output. Then a second one comes, which
  // nobody waits for any more.
  EXPECT_THAT(listener_->Await(1), Contains("call"));
}

TEST_F(OutputFeedTest, AClosedFeedTellsNothingAndTakesNothing) {
  Open();
  const std::string id = NewCall("call");
  feed_->Subscribe(core_, {id});
  ASSERT_TRUE(server_.WaitFor("SubscriptionMessage", 1));
  feed_->Close();
  server_.AddOutput(id, 1, "x");
  feed_->Subscribe(core_, {"nobody"});
  EXPECT_TRUE(WaitForState(id, CallState::kReady));
  EXPECT_EQ(server_.CountOf("Subscription"), 1);
  EXPECT_THAT(listener_->Await(0), IsEmpty());
}

}  // namespace
}  // namespace mayfly::client
