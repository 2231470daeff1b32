// Requests share a session, and each ends in its own way whatever becomes of the session.
#include "client/session.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/client_fixture.h"
#include "mayfly/output_stream.h"

namespace mayfly::client {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::SizeIs;
using When = Fault::When;

class SessionTest : public ClientFixture {
 protected:
  Client NewClientWith(const SessionTimes& times) { return Client(NewCore(QuickOptions(), times)); }

  // A put that is answered only when it is cancelled.
  std::future<absl::Status> UnansweredPut(const Client& client, const Cancellation& cancellation) {
    server_.FailNext("PutInputs", {.when = When::kSilence});
    auto done = std::make_shared<std::promise<absl::Status>>();
    client.PutInputsAsync(
        {{}},
        [done](const Client::Results<Stored>& stored) { done->set_value(stored.front().status()); },
        {.cancellation = cancellation});
    EXPECT_TRUE(server_.WaitFor("PutInputs", 1));
    return done->get_future();
  }

  // The kinds of requests of each frame.
  std::vector<std::vector<int>> Frames() {
    std::vector<std::vector<int>> frames;
    for (const auto& frame : server_.RequestsOf<v1::SessionRequest>()) {
      frames.emplace_back();
      for (const v1::NumberedRequest& request : frame.requests()) {
        frames.back().push_back(request.request_case());
      }
    }
    return frames;
  }
};

TEST_F(SessionTest, RequestsOfAllKindsShareAFrame) {
  const std::shared_ptr<Core> core = NewCore();
  const Client client(core);
  const std::string id = NewReadyCall("42");
  const absl::StatusOr<ClaimedOutputs> claimed =
      client.ClaimOutputs({id}, {.wait = absl::ZeroDuration()});
  ASSERT_TRUE(claimed.ok()) << claimed.status();
  const Claim claim = claimed->outputs.at(0).claim;
  std::vector<std::future<absl::Status>> released;
  std::vector<Client::Future<absl::Time>> times;
  std::vector<Client::Future<Stored>> stored;
  Client::Future<CallDescription> described;
  Client::Future<StoredInput> got;
  ASSERT_TRUE(client.DescribeCall(id).ok());  // opens the session
  absl::SleepFor(absl::Milliseconds(50));     // until the next frame may be written
  std::promise<void> asked;
  Dispatcher::Post(core->dispatcher(), [&] {
    described = client.DescribeCallFuture(id);
    stored.push_back(client.PutInputFuture({}));
    got = client.GetInputFuture(id);
    stored.push_back(client.PutOutputFuture({.call_id = id}));
    times.push_back(client.RenewClaimFuture(claim, absl::Seconds(30)));
    times.push_back(client.AckOutputFuture(claim));
    released.push_back(client.ReleaseOutputFuture(claim));
    times.push_back(client.DeleteCallFuture("y"));
    asked.set_value();
  });
  asked.get_future().wait();
  EXPECT_EQ(described.get()->state, CallState::kClaimed);
  for (auto& put : stored) EXPECT_TRUE(put.get().ok());
  EXPECT_EQ(got.get()->payload.data, "input");
  EXPECT_TRUE(times[0].get().ok());
  for (size_t i = 1; i < times.size(); ++i) times[i].wait();
  released[0].wait();
  EXPECT_THAT(Frames(), Contains(SizeIs(8)));
  const std::vector<int> largest = Frames().back();
  EXPECT_EQ(std::set<int>(largest.begin(), largest.end()).size(), 8);
}

TEST_F(SessionTest, AFrameHasNoMoreRequestsThanTheServerTakes) {
  constexpr int kCalls = 600;
  std::vector<Client::Future<CallDescription>> described;
  FromOneCallback(client_, [&] {
    for (int i = 0; i < kCalls; ++i) described.push_back(client_.DescribeCallFuture("x"));
  });
  for (auto& description : described) EXPECT_TRUE(description.get().ok());
  EXPECT_THAT(Frames(), ElementsAre(SizeIs(1), SizeIs(256), SizeIs(256), SizeIs(88)));
}

TEST_F(SessionTest, AFrameHasFewBytes) {
  std::vector<std::promise<void>> done(5);
  const Input input{.payload = {.data = std::string(100'000, 'x')}};
  FromOneCallback(client_, [&] {
    for (auto& one : done) client_.PutInputsAsync({input}, [&](const auto&) { one.set_value(); });
  });
  for (auto& one : done) one.get_future().wait();
  EXPECT_THAT(Frames(), ElementsAre(SizeIs(1), SizeIs(2), SizeIs(2), SizeIs(1)));
}

TEST_F(SessionTest, LargeRequestsAndThoseThatWaitAreRpcsOfTheirOwn) {
  const Input input{.payload = {.data = std::string(600'000, 'x')}};
  for (const auto& put : client_.PutInputs({input, input})) EXPECT_TRUE(put.ok()) << put.status();
  const std::string id = MintCallId();
  server_.AddOutput(id, 1, "42");
  EXPECT_TRUE(client_.ClaimOutputs({id}, {.wait = absl::Minutes(1)}).ok());
  EXPECT_EQ(server_.CountOf("PutInputs"), 1);
  EXPECT_EQ(server_.CountOf("ClaimOutputs"), 1);
  EXPECT_EQ(server_.CountOf("Session"), 0);
}

// The server has carried out some of the requests, and answers none.
TEST_F(SessionTest, RequestsOfABrokenSessionAreRepeatedOnAnother) {
  for (const grpc::Status& status :
       {grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed"), grpc::Status::OK,
        grpc::Status(grpc::StatusCode::CANCELLED, "cut off")}) {
    SCOPED_TRACE(status.error_message());
    const Client client = NewClient();
    server_.FailNext("Session", {.when = When::kBroken, .status = status, .item = 5});
    constexpr int kCalls = 10;
    std::vector<std::string> ids;
    for (int i = 0; i < kCalls; ++i) ids.push_back(MintCallId());
    std::vector<std::promise<absl::Status>> puts(kCalls);
    const int requests_before = server_.CountOf("PutInputs");
    FromOneCallback(client, [&] {
      for (int i = 0; i < kCalls; ++i) {
        client.PutInputsAsync({{.call_id = ids[i], .payload = {.data = ids[i]}}},
                              [&puts, i](const Client::Results<Stored>& stored) {
                                puts[i].set_value(stored.front().status());
                              });
      }
    });
    for (int i = 0; i < kCalls; ++i) {
      EXPECT_EQ(puts[i].get_future().get(), absl::OkStatus());
      EXPECT_EQ(server_.InputOf(ids[i]), ids[i]);
    }
    // Five before the break, behind the request of FromOneCallback.
    EXPECT_EQ(server_.CountOf("PutInputs") - requests_before, 5 + kCalls);
  }
  EXPECT_EQ(server_.CountOf("Session"), 6);
}

TEST_F(SessionTest, ASessionThatIsRefusedIsOpenedAgain) {
  server_.FailNext("Session", {.when = When::kBefore});
  EXPECT_TRUE(client_.PutInput({}).ok());
  EXPECT_EQ(server_.CountOf("Session"), 2);
}

TEST_F(SessionTest, ARefusalForGoodEndsTheCall) {
  server_.FailNext("Session", {.when = When::kBefore,
                               .status = RpcError(absl::StatusCode::kPermissionDenied,
                                                  Reason::kRoleRequired, "no")});
  const absl::Status status = client_.PutInput({}).status();
  EXPECT_EQ(ReasonOf(status), Reason::kRoleRequired) << status;
}

TEST_F(SessionTest, AnAnswerAfterItsDeadlineIsDropped) {
  server_.FailNext("PutInputs", {.when = When::kLate});
  const absl::Status late = client_.PutInput({}, {.timeout = absl::Milliseconds(300)}).status();
  EXPECT_EQ(late, absl::DeadlineExceededError("no answer within 300ms"));
  // The answers to both come in one frame.
  EXPECT_TRUE(client_.PutInput({}).ok());
  // This one is repeated, and both of its attempts are answered in one frame.
  server_.FailNext("PutInputs", {.when = When::kLate});
  EXPECT_TRUE(client_.PutInput({}, {.timeout = absl::Milliseconds(1'100)}).ok());
  EXPECT_EQ(server_.CountOf("PutInputs"), 4);
  EXPECT_EQ(server_.CountOf("Session"), 1);
}

TEST_F(SessionTest, IsReplacedAfterItsTimeAndEndsWithItsLastAnswer) {
  const Client client = NewClientWith({.use = absl::ZeroDuration()});
  const Cancellation cancellation;
  std::future<absl::Status> waiting = UnansweredPut(client, cancellation);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(client.DescribeCall("x").ok());
  EXPECT_EQ(server_.CountOf("Session"), 4);
  // The second and third are replaced and answered. The first has no answer, the fourth is current.
  ASSERT_TRUE(server_.WaitFor("SessionEnd", 2));
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_EQ(server_.CountOf("SessionEnd"), 2);
  cancellation.Cancel();
  EXPECT_EQ(waiting.get(), CancelledByCaller());
  EXPECT_TRUE(server_.WaitFor("SessionEnd", 3));
}

TEST_F(SessionTest, EndsWhenItIsIdle) {
  const Client client = NewClientWith({.idle = absl::Milliseconds(50)});
  for (int i = 1; i <= 3; ++i) {
    EXPECT_TRUE(client.PutInput({}).ok());
    EXPECT_TRUE(server_.WaitFor("SessionEnd", i));
    EXPECT_EQ(server_.CountOf("Session"), i);
  }
}

TEST_F(SessionTest, IsNotIdleWhileItHasARequest) {
  const Client client = NewClientWith({.idle = absl::Milliseconds(20)});
  const Cancellation cancellation;
  std::future<absl::Status> waiting = UnansweredPut(client, cancellation);
  absl::SleepFor(absl::Milliseconds(200));
  EXPECT_EQ(server_.CountOf("SessionEnd"), 0);
  cancellation.Cancel();
  EXPECT_TRUE(server_.WaitFor("SessionEnd", 1));
  EXPECT_EQ(waiting.get(), CancelledByCaller());
}

TEST_F(SessionTest, EndsWithTheClient) {
  {
    const Client client = NewClient();
    EXPECT_TRUE(client.PutInput({}).ok());
  }
  EXPECT_TRUE(server_.WaitFor("SessionEnd", 1));
}

TEST_F(SessionTest, ASubscriptionMovesToTheNextSessionWithItsClaims) {
  const Client client =
      NewClientWith({.use = absl::Milliseconds(30), .idle = absl::Milliseconds(15)});
  std::vector<std::string> ids;
  for (int i = 0; i < 40; ++i) ids.push_back(client_.PutInput({})->call_id);
  const OutputStream stream = client.StreamOutputs();
  stream.Subscribe(ids);
  std::vector<Claim> claims;
  std::set<std::string> told;
  for (const std::string& id : ids) {
    // No request is sent meanwhile: the session moves by itself.
    const int sessions = server_.CountOf("Session");
    if (claims.size() % 10 == 0) {
      ASSERT_TRUE(server_.WaitFor("Session", sessions + 1));
    }
    server_.AddOutput(id, 1, "x");
    const absl::StatusOr<OutputEvent> event = stream.Next(absl::Seconds(20));
    ASSERT_TRUE(event.ok()) << event.status();
    ASSERT_TRUE(event->output.ok()) << event->output.status();
    EXPECT_TRUE(told.insert(event->call_id).second);
    claims.push_back(event->output->claim);
  }
  EXPECT_GE(server_.CountOf("Session"), 5);
  // All but the last end.
  EXPECT_TRUE(server_.WaitFor("SessionEnd", 3));
  for (const Claim& claim : claims) stream.Ack(claim);
  EXPECT_EQ(stream.Flush(), absl::OkStatus());
  // None was lost with its session.
  EXPECT_EQ(server_.CountOf("ClaimOutputs"), 0);
  for (const v1::SubscriptionRequest& request : server_.RequestsOf<v1::SubscriptionRequest>()) {
    EXPECT_EQ(request.end().keep_claims(), request.has_end());
  }
}

}  // namespace
}  // namespace mayfly::client
