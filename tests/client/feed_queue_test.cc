#include "client/feed_queue.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mayfly::client {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

constexpr FeedQueue::Settings kSettings = {.window_items = 10,
                                           .window_bytes = 1'000,
                                           .message_data_bytes_max = 100,
                                           .lease = absl::Seconds(30),
                                           .subscriptions_max = 3};

class FeedQueueTest : public testing::Test {
 protected:
  FeedQueueTest() { queue_.Reopen(); }
  // What is written next; empty when there is nothing to write.
  v1::SubscriptionRequest Write() {
    v1::SubscriptionRequest request;
    queue_.FillRequest(&request);
    return request;
  }
  FeedQueue::Expected Receive(const std::vector<std::string>& outputs) {
    v1::SubscriptionResponse response;
    for (const std::string& call_id : outputs) {
      v1::ClaimedOutput* const output = response.add_outputs();
      output->set_call_id(call_id);
      output->mutable_payload()->set_data(std::string(100, 'x'));
    }
    return queue_.Take(response);
  }

  FeedQueue queue_{kSettings, "the token"};
};

TEST_F(FeedQueueTest, OpensWithItsTokenAndTheWholeWindow) {
  const v1::SubscriptionRequest request = Write();
  EXPECT_EQ(request.open().claim_token(), "the token");
  EXPECT_EQ(request.credit().item_count(), 10);
  EXPECT_EQ(request.credit().bytes(), 1'000);
  EXPECT_FALSE(queue_.FillRequest(std::make_unique<v1::SubscriptionRequest>().get()));
}

TEST_F(FeedQueueTest, SubscribesTheRestWhenCallsHaveEnded) {
  for (const char* const call_id : {"a", "b", "c", "d"}) queue_.Subscribe(call_id);
  EXPECT_THAT(Write().subscribe_call_ids(), ElementsAre("a", "b", "c"));
  EXPECT_TRUE(queue_.HasMoreToSubscribe());
  EXPECT_THAT(Receive({"b", "stranger"}).outputs, ElementsAre(true, false));
  EXPECT_THAT(Write().subscribe_call_ids(), ElementsAre("d"));
  EXPECT_FALSE(queue_.HasMoreToSubscribe());
}

TEST_F(FeedQueueTest, UnsubscribesWhatIsNotWaitedForAgain) {
  queue_.Subscribe("a");
  queue_.Subscribe("b");
  Write();
  queue_.Unsubscribe("a");
  queue_.Unsubscribe("b");
  queue_.Subscribe("b");
  const v1::SubscriptionRequest request = Write();
  EXPECT_THAT(request.unsubscribe_call_ids(), ElementsAre("a"));
  EXPECT_THAT(request.subscribe_call_ids(), ElementsAre("b"));
}

TEST_F(FeedQueueTest, ASecondSubscriptionIsToldOfAllThatIsWaitedForAndOfTheRoomThatIsLeft) {
  queue_.Subscribe("a");
  queue_.Subscribe("b");
  queue_.Subscribe("c");
  Write();
  Receive({"b"});
  queue_.Reopen();
  const v1::SubscriptionRequest request = Write();
  EXPECT_EQ(request.open().claim_token(), "the token");
  EXPECT_THAT(request.subscribe_call_ids(), UnorderedElementsAre("a", "c"));
  EXPECT_EQ(request.credit().item_count(), 9);
  EXPECT_EQ(request.credit().bytes(), 900);
}

TEST_F(FeedQueueTest, HalfAWindowOfCreditIsWorthAMessage) {
  Write();
  EXPECT_FALSE(queue_.ReturnCredit(4, 100));
  EXPECT_TRUE(queue_.ReturnCredit(1, 100));
  EXPECT_EQ(Write().credit().item_count(), 5);
  EXPECT_TRUE(queue_.ReturnCredit(1, 500));
}

}  // namespace
}  // namespace mayfly::client
