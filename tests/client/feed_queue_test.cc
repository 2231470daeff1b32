#include "client/feed_queue.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mayfly::client {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr FeedQueue::Settings kSettings = {.window_items = 10,
                                           .window_bytes = 1'000,
                                           .message_data_bytes_max = 100,
                                           .lease = absl::Seconds(30),
                                           .subscriptions_max = 3};

class FeedQueueTest : public testing::Test {
 protected:
  FeedQueueTest() { queue_.StartStream("token 1"); }
  // What is written next; empty when there is nothing to write.
  v1::StreamOutputsRequest Write() {
    v1::StreamOutputsRequest request;
    queue_.FillRequest(&request);
    return request;
  }
  FeedQueue::Answered Receive(const std::vector<std::string>& outputs) {
    v1::StreamOutputsResponse response;
    for (const std::string& call_id : outputs) {
      v1::ClaimedOutput* const output = response.add_outputs();
      output->set_call_id(call_id);
      output->mutable_payload()->set_data(std::string(100, 'x'));
    }
    return queue_.TakeAnswered(response);
  }

  FeedQueue queue_{kSettings};
};

TEST_F(FeedQueueTest, OpensTheStreamWithItsTokenAndTheWholeWindow) {
  const v1::StreamOutputsRequest request = Write();
  EXPECT_EQ(request.open().claim_token(), "token 1");
  EXPECT_EQ(request.credit().item_count(), 10);
  EXPECT_EQ(request.credit().bytes(), 1'000);
  EXPECT_FALSE(queue_.FillRequest(std::make_unique<v1::StreamOutputsRequest>().get()));
}

TEST_F(FeedQueueTest, TakesNoClaimBeforeTheStreamIsOpenAndNoneOfAnother) {
  EXPECT_FALSE(queue_.IsOfStream({.call_id = "a", .token = "token 1"}));
  Write();
  EXPECT_TRUE(queue_.IsOfStream({.call_id = "a", .token = "token 1"}));
  EXPECT_FALSE(queue_.IsOfStream({.call_id = "a", .token = "token 2"}));
}

TEST_F(FeedQueueTest, SubscribesTheRestWhenCallsHaveEnded) {
  for (const char* const call_id : {"a", "b", "c", "d"}) queue_.Subscribe(call_id);
  EXPECT_THAT(Write().subscribe_call_ids(), ElementsAre("a", "b", "c"));
  EXPECT_TRUE(queue_.HasMoreToSubscribe());
  EXPECT_THAT(Receive({"b", "stranger"}).expected_outputs, ElementsAre(true, false));
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
  const v1::StreamOutputsRequest request = Write();
  EXPECT_THAT(request.unsubscribe_call_ids(), ElementsAre("a"));
  EXPECT_THAT(request.subscribe_call_ids(), ElementsAre("b"));
}

TEST_F(FeedQueueTest, ASecondStreamIsToldOfAllThatIsWaitedForAndOfTheRoomThatIsLeft) {
  queue_.Subscribe("a");
  queue_.Subscribe("b");
  queue_.Subscribe("c");
  Write();
  Receive({"b"});
  queue_.EndStream();
  queue_.StartStream("token 2");
  const v1::StreamOutputsRequest request = Write();
  EXPECT_EQ(request.open().claim_token(), "token 2");
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

TEST_F(FeedQueueTest, AnswersAcksInTheOrderInWhichTheyWereWritten) {
  std::vector<std::string> answered;
  for (const char* const name : {"first", "second", "third"}) {
    queue_.Ack({.call_id = name},
               [&answered, name](const absl::StatusOr<absl::Time>&) { answered.push_back(name); });
  }
  Write();
  queue_.Ack({.call_id = "fourth"},
             [&](const absl::StatusOr<absl::Time>&) { answered.push_back("fourth"); });
  v1::StreamOutputsResponse response;
  response.add_ack_results();
  for (auto& ack : queue_.TakeAnswered(response).acks) ack(absl::InfinitePast());
  EXPECT_THAT(answered, ElementsAre("first"));
  // What the stream has not answered when it breaks, written or not.
  for (auto& ack : queue_.EndStream().acks) ack(absl::UnavailableError("broken"));
  EXPECT_THAT(answered, ElementsAre("first", "second", "third", "fourth"));
  EXPECT_THAT(queue_.EndStream().acks, IsEmpty());
}

}  // namespace
}  // namespace mayfly::client
