// StreamPuts: the order of answers, the bound on unanswered messages, and the ends of a stream.

#include "rpc/put_stream.h"

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "rpc/served_store.h"

namespace mayfly {
namespace {

class PutStreamTest : public ::testing::Test {
 protected:
  using Stream = grpc::ClientReaderWriter<v1::StreamPutsRequest, v1::StreamPutsResponse>;

  PutStreamTest() {
    served_.Start();
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    stream_ = served_.client->stub()->StreamPuts(&context_);
  }

  v1::StreamPutsRequest Message(uint64_t sequence, int items = 1) {
    v1::StreamPutsRequest request;
    request.set_sequence(sequence);
    for (int i = 0; i < items; ++i) {
      v1::InputItem* const item = request.add_inputs();
      item->set_call_id(served_.harness.NewId().ToString());
      item->mutable_payload()->set_data("in");
    }
    return request;
  }
  v1::StreamPutsRequest Malformed(uint64_t sequence) {
    v1::StreamPutsRequest request;
    request.set_sequence(sequence);
    request.add_inputs()->set_call_id("no id");
    return request;
  }
  uint64_t NextSequence() {
    v1::StreamPutsResponse response;
    return stream_->Read(&response) ? response.sequence() : 0;
  }
  uint64_t Queued() { return served_.harness.store()->health().queued_operations; }
  bool QueuedBecome(uint64_t count) {
    const absl::Time give_up = absl::Now() + kPatience;
    while (Queued() != count && absl::Now() < give_up) absl::SleepFor(absl::Milliseconds(1));
    return Queued() == count;
  }

  ServedStore served_;
  grpc::ClientContext context_;
  std::unique_ptr<Stream> stream_;
};

TEST_F(PutStreamTest, AnswersInTheOrderInWhichMessagesAreDecided) {
  Gate commit;
  served_.harness.hooks.commit = commit.hook();
  ASSERT_TRUE(stream_->Write(Message(11)));
  commit.WaitUntilReached();
  ASSERT_TRUE(stream_->Write(Message(12, 3)));
  // Refused without asking the store, which is held up.
  ASSERT_TRUE(stream_->Write(Malformed(13)));
  EXPECT_EQ(NextSequence(), 13u);
  ASSERT_TRUE(stream_->Write(Malformed(14)));
  EXPECT_EQ(NextSequence(), 14u);
  commit.Open();
  EXPECT_EQ(NextSequence(), 11u);
  v1::StreamPutsResponse response;
  ASSERT_TRUE(stream_->Read(&response));
  EXPECT_EQ(response.sequence(), 12u);
  ASSERT_EQ(response.input_results_size(), 3);
  for (const v1::PutInputResult& result : response.input_results()) {
    EXPECT_EQ(Summary(result.status()), "OK");
  }
  stream_->WritesDone();
  EXPECT_EQ(NextSequence(), 0u);
  EXPECT_EQ(Summary(stream_->Finish()), "OK");
}

TEST_F(PutStreamTest, ReadsNoMoreWhileManyAreUnanswered) {
  Gate commit;
  served_.harness.hooks.commit = commit.hook();
  constexpr uint64_t kMessages = 3 * PutStream::kUnansweredMax;
  for (uint64_t sequence = 1; sequence <= kMessages; ++sequence) {
    ASSERT_TRUE(stream_->Write(Message(sequence)));
    if (sequence == 1) commit.WaitUntilReached();
  }
  // One is being committed.
  ASSERT_TRUE(QueuedBecome(PutStream::kUnansweredMax - 1));
  absl::SleepFor(absl::Milliseconds(100));  // in which nothing may come: the messages are there
  EXPECT_EQ(Queued(), PutStream::kUnansweredMax - 1u);
  commit.Open();
  std::set<uint64_t> answered;
  for (uint64_t i = 0; i < kMessages; ++i) answered.insert(NextSequence());
  EXPECT_EQ(answered.size(), kMessages);
  EXPECT_EQ(*answered.begin(), 1u);
  stream_->WritesDone();
  EXPECT_EQ(Summary(stream_->Finish()), "OK");
}

TEST_F(PutStreamTest, ReadsNoMoreWhileManyBytesAreUnanswered) {
  Gate commit;
  served_.harness.hooks.commit = commit.hook();
  constexpr uint64_t kMessageBytes = 6 << 20;
  constexpr uint64_t kRead = PutStream::kUnansweredBytesMax / kMessageBytes + 1;
  // gRPC takes no further message before the last has left, so that this cannot go ahead by itself.
  std::thread writer([&] {
    for (uint64_t sequence = 1; sequence <= 2 * kRead; ++sequence) {
      v1::StreamPutsRequest request = Message(sequence);
      request.mutable_inputs(0)->mutable_payload()->set_data(std::string(kMessageBytes, 'x'));
      if (!stream_->Write(request)) return;
    }
    stream_->WritesDone();
  });
  commit.WaitUntilReached();
  EXPECT_TRUE(QueuedBecome(kRead - 1));
  absl::SleepFor(absl::Milliseconds(200));  // in which nothing may come
  EXPECT_EQ(Queued(), kRead - 1);
  commit.Open();
  for (uint64_t i = 0; i < 2 * kRead; ++i) EXPECT_NE(NextSequence(), 0u);
  writer.join();
  EXPECT_EQ(Summary(stream_->Finish()), "OK");
}

TEST_F(PutStreamTest, AnswersAllThatCameBeforeTheHalfClose) {
  Gate commit;
  served_.harness.hooks.commit = commit.hook();
  for (uint64_t sequence = 1; sequence <= 5; ++sequence) {
    ASSERT_TRUE(stream_->Write(Message(sequence)));
  }
  stream_->WritesDone();
  commit.WaitUntilReached();
  commit.Open();
  std::set<uint64_t> answered;
  for (int i = 0; i < 5; ++i) answered.insert(NextSequence());
  EXPECT_EQ(answered.size(), 5u);
  EXPECT_EQ(NextSequence(), 0u);
  EXPECT_EQ(Summary(stream_->Finish()), "OK");
}

TEST_F(PutStreamTest, ADrainAnswersWhatItHasTaken) {
  Gate commit;
  served_.harness.hooks.commit = commit.hook();
  ASSERT_TRUE(stream_->Write(Message(1)));
  commit.WaitUntilReached();
  ASSERT_TRUE(stream_->Write(Message(2)));
  ASSERT_TRUE(QueuedBecome(1));
  served_.server->Drain();
  commit.Open();
  const std::set<uint64_t> answered = {NextSequence(), NextSequence()};
  EXPECT_EQ(answered, (std::set<uint64_t>{1, 2}));
  EXPECT_EQ(NextSequence(), 0u);
  EXPECT_EQ(Summary(stream_->Finish()), "UNAVAILABLE DRAINING");
}

TEST_F(PutStreamTest, WhatWasTakenIsStoredThoughTheClientIsGone) {
  Gate commit;
  served_.harness.hooks.commit = commit.hook();
  const v1::StreamPutsRequest request = Message(1);
  ASSERT_TRUE(stream_->Write(request));
  commit.WaitUntilReached();
  context_.TryCancel();
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::CANCELLED);
  commit.Open();
  const auto id = CallId::Parse(request.inputs(0).call_id());
  EXPECT_EQ(served_.harness.GetInput(*id, served_.tenant()).payload->data, "in");
}

TEST_F(PutStreamTest, AMessageWithoutItemsEndsTheStream) {
  v1::StreamPutsRequest empty;
  ASSERT_TRUE(stream_->Write(empty));
  EXPECT_EQ(NextSequence(), 0u);
  EXPECT_EQ(Summary(stream_->Finish()), "INVALID_ARGUMENT FIELD_INVALID");
}

}  // namespace
}  // namespace mayfly
