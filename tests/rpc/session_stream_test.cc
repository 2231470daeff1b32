// Session: requests of every kind, the order of answers, the bounds, and the ends of a stream.

#include "rpc/session_stream.h"

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "e2e/session_call.h"
#include "rpc/served_store.h"

namespace mayfly {
namespace {

class SessionStreamTest : public ::testing::Test {
 protected:
  void Start() {
    served_.Start();
    call_ = std::make_unique<SessionCall>(served_.client.get());
  }

  v1::NumberedRequest Put(uint64_t number, int items = 1, const std::string& data = "in") {
    v1::NumberedRequest request;
    request.set_number(number);
    for (int i = 0; i < items; ++i) {
      v1::InputItem* const item = request.mutable_put_inputs()->add_items();
      item->set_call_id(served_.harness.NewId().ToString());
      item->mutable_payload()->set_data(data);
    }
    return request;
  }
  static v1::NumberedRequest Malformed(uint64_t number) {
    v1::NumberedRequest request;
    request.set_number(number);
    request.mutable_put_inputs()->add_items()->set_call_id("no id");
    return request;
  }
  static v1::NumberedRequest Claim(uint64_t number, const CallId& id, int64_t wait_s = 50,
                                   const std::string& token = NewClaimToken()) {
    v1::NumberedRequest request;
    request.set_number(number);
    v1::ClaimOutputsRequest* const claim = request.mutable_claim_outputs();
    claim->add_call_ids(id.ToString());
    claim->set_claim_token(token);
    claim->mutable_wait()->set_seconds(wait_s);
    return request;
  }
  static v1::NumberedRequest Describe(uint64_t number, const CallId& id) {
    v1::NumberedRequest request;
    request.set_number(number);
    request.mutable_describe_calls()->add_call_ids(id.ToString());
    return request;
  }
  uint64_t NextNumber() { return call_->Next().number(); }
  uint64_t Queued() { return served_.harness.store()->health().queued_operations; }
  int64_t Claims() { return served_.tenant()->ledger.claims(); }
  template <typename Get>
  static bool Becomes(Get get, decltype(get()) value) {
    const absl::Time give_up = absl::Now() + kPatience;
    while (get() != value && absl::Now() < give_up) absl::SleepFor(absl::Milliseconds(1));
    return get() == value;
  }
  bool QueuedBecome(uint64_t count) {
    return Becomes([this] { return Queued(); }, count);
  }
  bool ClaimsBecome(int64_t count) {
    return Becomes([this] { return Claims(); }, count);
  }
  CallPhase Phase(const CallId& id) { return served_.harness.Phase(id, served_.tenant()); }

  ServedStore served_;
  std::unique_ptr<SessionCall> call_;
};

TEST_F(SessionStreamTest, CarriesTheWholeLifeOfACall) {
  Start();
  SessionCall worker(served_.worker.get());
  const v1::NumberedRequest put = Put(1);
  const std::string id = put.put_inputs().items(0).call_id();
  ASSERT_TRUE(call_->Write(put));
  v1::NumberedResponse response = call_->Next();
  EXPECT_EQ(response.number(), 1u);
  EXPECT_EQ(Summary(response.status()), "OK");
  ASSERT_EQ(response.put_inputs().results_size(), 1);
  EXPECT_EQ(response.put_inputs().results(0).call_id(), id);
  EXPECT_TRUE(response.put_inputs().results(0).has_deadline_time());

  v1::NumberedRequest get;
  get.set_number(2);
  get.mutable_get_inputs()->add_call_ids(id);
  ASSERT_TRUE(worker.Write(get));
  response = worker.Next();
  ASSERT_EQ(response.get_inputs().results_size(), 1);
  EXPECT_EQ(response.get_inputs().results(0).payload().data(), "in");

  v1::NumberedRequest output;
  output.set_number(3);
  v1::OutputItem* const item = output.mutable_put_outputs()->add_items();
  item->set_call_id(id);
  item->set_attempt(1);
  item->set_outcome(v1::OUTCOME_SUCCESS);
  item->mutable_payload()->set_data("out");
  ASSERT_TRUE(worker.Write(output));
  EXPECT_EQ(Summary(worker.Next().put_outputs().results(0).status()), "OK");

  const std::string token = NewClaimToken();
  ASSERT_TRUE(call_->Write(Claim(4, *CallId::Parse(id), 50, token)));
  response = call_->Next();
  ASSERT_EQ(response.claim_outputs().outputs_size(), 1);
  const v1::ClaimedOutput claimed = response.claim_outputs().outputs(0);
  EXPECT_EQ(claimed.payload().data(), "out");

  const auto claim_of = [&](auto* claim) {
    claim->set_call_id(id);
    claim->set_claim_token(token);
    claim->set_fence(claimed.fence());
  };
  v1::NumberedRequest renew;
  renew.set_number(5);
  claim_of(renew.mutable_renew_claims()->add_items());
  v1::NumberedRequest ack;
  ack.set_number(6);
  claim_of(ack.mutable_ack_outputs()->add_items());
  ASSERT_TRUE(call_->Write(renew));
  EXPECT_EQ(Summary(call_->Next().renew_claims().results(0).status()), "OK");
  ASSERT_TRUE(call_->Write(ack));
  EXPECT_EQ(Summary(call_->Next().ack_outputs().results(0).status()), "OK");
  ASSERT_TRUE(call_->Write(Describe(7, *CallId::Parse(id))));
  EXPECT_EQ(call_->Next().describe_calls().results(0).state(), v1::CALL_STATE_CONSUMED);

  v1::NumberedRequest release;
  release.set_number(8);
  claim_of(release.mutable_release_outputs()->add_items());
  ASSERT_TRUE(call_->Write(release));
  EXPECT_EQ(Summary(call_->Next().release_outputs().results(0).status()),
            "NOT_FOUND OUTPUT_CONSUMED");
  v1::NumberedRequest remove;
  remove.set_number(9);
  remove.mutable_delete_calls()->add_call_ids(served_.NewInput().ToString());
  ASSERT_TRUE(call_->Write(remove));
  EXPECT_EQ(Summary(call_->Next().delete_calls().results(0).status()), "OK");
  call_->HalfClose();
  EXPECT_EQ(call_->FinishAfterRest(), "OK");
}

TEST_F(SessionStreamTest, AnswersWhatIsDecidedWhileEarlierRequestsAreHeldUp) {
  Start();
  Gate commit;
  served_.harness.hooks.commit = commit.hook();
  ASSERT_TRUE(call_->Write(Put(11)));
  commit.WaitUntilReached();
  ASSERT_TRUE(call_->Write(Put(12, 3)));
  // Refused without asking the store, which is held up.
  ASSERT_TRUE(call_->Write(Malformed(13)));
  EXPECT_EQ(NextNumber(), 13u);
  ASSERT_TRUE(call_->Write(Malformed(14)));
  EXPECT_EQ(NextNumber(), 14u);
  commit.Open();
  // In either order: two workers hand out the answers of two groups.
  std::map<uint64_t, v1::NumberedResponse> responses;
  for (int i = 0; i < 2; ++i) {
    v1::NumberedResponse response = call_->Next();
    const uint64_t number = response.number();
    responses[number] = std::move(response);
  }
  ASSERT_EQ(responses[11].put_inputs().results_size(), 1);
  ASSERT_EQ(responses[12].put_inputs().results_size(), 3);
  for (const v1::PutInputResult& result : responses[12].put_inputs().results()) {
    EXPECT_EQ(Summary(result.status()), "OK");
  }
  call_->HalfClose();
  EXPECT_EQ(NextNumber(), 0u);
  EXPECT_EQ(call_->Finish(), "OK");
}

TEST_F(SessionStreamTest, ReadsNoMoreWhileManyAreUnanswered) {
  Start();
  Gate commit;
  served_.harness.hooks.commit = commit.hook();
  constexpr uint64_t kMessages = 2 * SessionStream::kUnansweredMax;
  for (uint64_t number = 1; number <= kMessages; ++number) {
    ASSERT_TRUE(call_->Write(Put(number)));
    if (number == 1) commit.WaitUntilReached();
  }
  // One is being committed.
  ASSERT_TRUE(QueuedBecome(SessionStream::kUnansweredMax - 1));
  absl::SleepFor(absl::Milliseconds(100));  // in which nothing may come: the messages are there
  EXPECT_EQ(Queued(), SessionStream::kUnansweredMax - 1u);
  commit.Open();
  std::set<uint64_t> answered;
  for (uint64_t i = 0; i < kMessages; ++i) answered.insert(NextNumber());
  EXPECT_EQ(answered.size(), kMessages);
  EXPECT_EQ(*answered.begin(), 1u);
  call_->HalfClose();
  EXPECT_EQ(call_->FinishAfterRest(), "OK");
}

TEST_F(SessionStreamTest, ReadsNoMoreWhileManyBytesAreUnanswered) {
  Start();
  Gate commit;
  served_.harness.hooks.commit = commit.hook();
  constexpr uint64_t kMessageBytes = 6 << 20;
  constexpr uint64_t kRead = SessionStream::kUnansweredBytesMax / kMessageBytes + 1;
  // gRPC takes no further message before the last has left, so that this cannot go ahead by itself.
  std::thread writer([&] {
    for (uint64_t number = 1; number <= 2 * kRead; ++number) {
      if (!call_->Write(Put(number, 1, std::string(kMessageBytes, 'x')))) return;
    }
    call_->HalfClose();
  });
  commit.WaitUntilReached();
  EXPECT_TRUE(QueuedBecome(kRead - 1));
  absl::SleepFor(absl::Milliseconds(200));  // in which nothing may come
  EXPECT_EQ(Queued(), kRead - 1);
  commit.Open();
  for (uint64_t i = 0; i < 2 * kRead; ++i) EXPECT_NE(NextNumber(), 0u);
  writer.join();
  EXPECT_EQ(call_->FinishAfterRest(), "OK");
}

// Another session is answered, whatever this one has under way.
TEST_F(SessionStreamTest, AFullSessionHoldsUpNoOther) {
  Start();
  Gate commit;
  served_.harness.hooks.commit = commit.hook();
  for (uint64_t number = 1; number <= 2 * SessionStream::kUnansweredMax; ++number) {
    ASSERT_TRUE(call_->Write(Put(number)));
    if (number == 1) commit.WaitUntilReached();
  }
  EXPECT_TRUE(QueuedBecome(SessionStream::kUnansweredMax - 1));
  SessionCall other(served_.client.get());
  ASSERT_TRUE(other.Write(Malformed(7)));
  EXPECT_EQ(other.Next().number(), 7u);
  commit.Open();
}

TEST_F(SessionStreamTest, AClaimThatWaitsHoldsUpNothing) {
  Start();
  const CallId id = served_.NewInput();
  ASSERT_TRUE(call_->Write(Claim(1, id)));
  ASSERT_TRUE(call_->Write(Describe(2, id)));
  EXPECT_EQ(NextNumber(), 2u);
  served_.PutOutput(id);
  const v1::NumberedResponse response = call_->Next();
  EXPECT_EQ(response.number(), 1u);
  EXPECT_EQ(response.claim_outputs().outputs(0).payload().data(), "out");
}

TEST_F(SessionStreamTest, OneClaimMoreThanMayWaitIsAnsweredAtOnce) {
  Start();
  const CallId id = served_.NewInput();
  v1::SessionRequest message;
  for (uint64_t number = 1; number <= SessionStream::kWaitingClaimsMax; ++number) {
    *message.add_requests() = Claim(number, id);
  }
  ASSERT_TRUE(call_->Write(message));
  ASSERT_TRUE(call_->Write(Claim(1000, id)));
  const v1::NumberedResponse response = call_->Next();
  EXPECT_EQ(response.number(), 1000u);
  EXPECT_EQ(response.claim_outputs().pending_count(), 1u);
}

// Those that do not wait are answered at once, and nobody takes the answers.
TEST_F(SessionStreamTest, ReadsNoMoreWhileManyAnswersAreNotRead) {
  Start();
  v1::SessionRequest message;
  for (int i = 0; i < SessionStream::kRequestsMax; ++i) {
    v1::NumberedRequest* const request = message.add_requests();
    request->set_number(1);
    v1::ClaimOutputsRequest* const claim = request->mutable_claim_outputs();
    claim->set_claim_token(NewClaimToken());
    for (int k = 0; k < 512; ++k) claim->add_call_ids("x");  // told of each by 100 bytes and more
  }
  constexpr int kMessages = 100;  // 1.3 GB of answers
  std::atomic<int> written{0};
  std::thread writer([&] {
    for (; written < kMessages; ++written) {
      if (!call_->Write(message)) return;
    }
  });
  const absl::Time give_up = absl::Now() + kPatience;
  int before = -1;
  while (written != before && absl::Now() < give_up) {
    before = written;
    absl::SleepFor(absl::Milliseconds(500));
  }
  // Each message is 400 KB, and gRPC buffers a few MiB at most.
  EXPECT_LT(written, kMessages / 2);
  call_->Cancel();
  writer.join();
}

TEST_F(SessionStreamTest, ABrokenSessionReleasesWhatWasClaimedAndNotReceived) {
  Start();
  const CallId id = served_.NewInput();
  ASSERT_TRUE(call_->Write(Claim(1, id)));
  ASSERT_TRUE(call_->Write(Describe(2, id)));
  EXPECT_EQ(NextNumber(), 2u);
  EXPECT_EQ(call_->Break(), "CANCELLED");
  // An answer that was written before the server knew would keep its claim.
  ASSERT_TRUE(Becomes([&] { return served_.HasEnded("ClaimOutputs"); }, true));
  served_.PutOutput(id);
  EXPECT_EQ(Claims(), 0);
  EXPECT_EQ(Phase(id), CallPhase::kReady);
}

// They are the client's to ack or to release.
TEST_F(SessionStreamTest, ABrokenSessionKeepsTheClaimsThatWereReceived) {
  Start();
  const CallId id = served_.NewOutput();
  ASSERT_TRUE(call_->Write(Claim(1, id)));
  EXPECT_EQ(call_->Next().claim_outputs().outputs_size(), 1);
  ASSERT_TRUE(call_->Write(Describe(2, id)));
  EXPECT_EQ(NextNumber(), 2u);  // the message before has been written by then
  call_->Break();
  absl::SleepFor(absl::Milliseconds(100));  // in which nothing may happen
  EXPECT_EQ(Claims(), 1);
}

// A group costs much more than a request.
TEST_F(SessionStreamTest, PutsOfOneMessageAreOneGroup) {
  for (const auto durability : {Config::Durability::kRelaxed, Config::Durability::kSync}) {
    ServedStore served;
    served.harness.config.storage.durability = durability;
    served.Start();
    std::atomic<int> commits{0};
    served.harness.hooks.commit = [&] {
      ++commits;
      return absl::OkStatus();
    };
    SessionCall call(served.client.get());
    v1::SessionRequest message;
    for (uint64_t number = 1; number <= 20; ++number) {
      v1::NumberedRequest* const request = message.add_requests();
      request->set_number(number);
      v1::InputItem* const item = request->mutable_put_inputs()->add_items();
      item->set_call_id(served.harness.NewId().ToString());
      item->mutable_payload()->set_data("in");
    }
    ASSERT_TRUE(call.Write(message));
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(Summary(call.Next().put_inputs().results(0).status()), "OK");
    }
    EXPECT_EQ(commits, 1);
  }
}

TEST_F(SessionStreamTest, RolesAreThoseOfTheRequests) {
  Start();
  SessionCall worker(served_.worker.get());
  ASSERT_TRUE(worker.Write(Put(1)));
  EXPECT_EQ(Summary(worker.Next().status()), "PERMISSION_DENIED ROLE_REQUIRED");
  v1::NumberedRequest get;
  get.set_number(2);
  get.mutable_get_inputs()->add_call_ids(served_.NewInput().ToString());
  ASSERT_TRUE(call_->Write(get));
  EXPECT_EQ(Summary(call_->Next().status()), "PERMISSION_DENIED ROLE_REQUIRED");
  // And nothing else of the session is touched.
  ASSERT_TRUE(worker.Write(get));
  EXPECT_EQ(worker.Next().get_inputs().results(0).payload().data(), "in");
}

TEST_F(SessionStreamTest, BadRequestsAreAnsweredEachByItself) {
  served_.harness.config.limits.batch_items_max = 4;
  Start();
  v1::SessionRequest message;
  message.add_requests()->set_number(1);  // without a request
  *message.add_requests() = Put(2, 5);
  *message.add_requests() = Put(3, 4);
  v1::NumberedRequest* const empty = message.add_requests();
  empty->set_number(4);
  empty->mutable_ack_outputs();
  ASSERT_TRUE(call_->Write(message));
  std::vector<std::string> results(5);
  for (int i = 0; i < 4; ++i) {
    const v1::NumberedResponse response = call_->Next();
    ASSERT_LE(response.number(), 4u);
    results[response.number()] = Summary(response.status());
    EXPECT_EQ(response.response_case() != v1::NumberedResponse::RESPONSE_NOT_SET,
              response.status().code() == 0);
  }
  EXPECT_EQ(results, (std::vector<std::string>{"", "INVALID_ARGUMENT FIELD_INVALID",
                                               "INVALID_ARGUMENT FIELD_INVALID", "OK",
                                               "INVALID_ARGUMENT FIELD_INVALID"}));
}

TEST_F(SessionStreamTest, MessagesOutOfBoundsEndTheSession) {
  Start();
  for (const int count : {0, SessionStream::kRequestsMax + 1}) {
    SessionCall call(served_.client.get());
    v1::SessionRequest message;
    for (int i = 0; i < count; ++i) *message.add_requests() = Malformed(1);
    ASSERT_TRUE(call.Write(message));
    EXPECT_EQ(call.FinishAfterRest(), "INVALID_ARGUMENT FIELD_INVALID") << count;
  }
}

TEST_F(SessionStreamTest, TheRateIsTheTenants) {
  served_.harness.config.limits.operations_per_second_max = 5;
  Start();
  std::vector<std::string> results;
  for (uint64_t number = 1; number <= 3; ++number) {
    ASSERT_TRUE(call_->Write(Put(number, 4)));
    results.push_back(Summary(call_->Next().status()));
    if (number == 2) served_.harness.clock.Advance(absl::Seconds(1));
  }
  EXPECT_EQ(results, (std::vector<std::string>{"OK", "RESOURCE_EXHAUSTED QUOTA_RATE", "OK"}));
}

// As in a reply of its own: open_calls.h.
TEST_F(SessionStreamTest, APayloadThatEndedBeforeItIsWrittenIsNotSent) {
  Start();
  SessionCall worker(served_.worker.get());
  const CallId id = served_.NewInput();
  Gate second_read;
  int reads = 0;
  served_.harness.hooks.read_row = [&, hook = second_read.hook()] {
    return ++reads < 2 ? absl::OkStatus() : hook();
  };
  // The answer to the first leaves with that to the second, which is held up.
  v1::SessionRequest message;
  for (uint64_t number : {1, 2}) {
    v1::NumberedRequest* const get = message.add_requests();
    get->set_number(number);
    get->mutable_get_inputs()->add_call_ids((number == 1 ? id : served_.NewInput()).ToString());
  }
  ASSERT_TRUE(worker.Write(message));
  second_read.WaitUntilReached();
  served_.harness.clock.Advance(absl::Hours(2));  // beyond the deadline of both
  second_read.Open();
  const v1::NumberedResponse response = worker.Next();
  EXPECT_EQ(response.number(), 1u);
  EXPECT_EQ(Summary(response.status()), "UNAVAILABLE");
  EXPECT_FALSE(response.has_get_inputs());
  EXPECT_FALSE(worker.Next().get_inputs().results(0).has_payload());
}

TEST_F(SessionStreamTest, AnswersAllThatCameBeforeTheHalfClose) {
  Start();
  Gate commit;
  served_.harness.hooks.commit = commit.hook();
  for (uint64_t number = 1; number <= 5; ++number) ASSERT_TRUE(call_->Write(Put(number)));
  call_->HalfClose();
  commit.WaitUntilReached();
  commit.Open();
  std::set<uint64_t> answered;
  for (int i = 0; i < 5; ++i) answered.insert(NextNumber());
  EXPECT_EQ(answered.size(), 5u);
  EXPECT_EQ(NextNumber(), 0u);
  EXPECT_EQ(call_->Finish(), "OK");
}

TEST_F(SessionStreamTest, ADrainAnswersWhatItHasTakenAndLetsClaimsEnd) {
  Start();
  const CallId id = served_.NewOutput();
  const std::string token = NewClaimToken();
  ASSERT_TRUE(call_->Write(Claim(1, id, 50, token)));
  const uint64_t fence = call_->Next().claim_outputs().outputs(0).fence();
  served_.server->Drain();
  ASSERT_TRUE(call_->Write(Put(2)));
  EXPECT_EQ(Summary(call_->Next().status()), "UNAVAILABLE DRAINING");
  v1::NumberedRequest ack;
  ack.set_number(3);
  v1::AckItem* const item = ack.mutable_ack_outputs()->add_items();
  item->set_call_id(id.ToString());
  item->set_claim_token(token);
  item->set_fence(fence);
  ASSERT_TRUE(call_->Write(ack));
  EXPECT_EQ(Summary(call_->Next().ack_outputs().results(0).status()), "OK");
  EXPECT_EQ(NextNumber(), 0u);
  EXPECT_EQ(call_->Finish(), "UNAVAILABLE DRAINING");
}

TEST_F(SessionStreamTest, WhatWasTakenIsStoredThoughTheClientIsGone) {
  Start();
  Gate commit;
  served_.harness.hooks.commit = commit.hook();
  const v1::NumberedRequest request = Put(1);
  ASSERT_TRUE(call_->Write(request));
  commit.WaitUntilReached();
  EXPECT_EQ(call_->Break(), "CANCELLED");
  commit.Open();
  const auto id = CallId::Parse(request.put_inputs().items(0).call_id());
  EXPECT_EQ(served_.harness.GetInput(*id, served_.tenant()).payload->data, "in");
}

}  // namespace
}  // namespace mayfly
