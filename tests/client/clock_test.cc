// A client whose clock is not the server's: ids of calls have the time at which they were minted.
#include "absl/time/clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/call_id.h"
#include "client/client_fixture.h"
#include "client/payload_ends.h"
#include "client/server_time.h"

namespace mayfly::client {
namespace {

using ::testing::SizeIs;
using When = Fault::When;

class ClockTest : public ClientFixture {
 protected:
  // Other than whatever the tests before have taught this process.
  ClockTest() { server_.SetClock(ServerTime() - absl::Now() + absl::Minutes(10)); }

  absl::Time ServersNow() const { return started_ + absl::Minutes(10) + (absl::Now() - now_); }
  bool IsOfServersTime(const std::string& call_id) const {
    return absl::AbsDuration(CallId::Parse(call_id)->time() - ServersNow()) < absl::Minutes(2);
  }

  const absl::Time started_ = ServerTime();
  const absl::Time now_ = absl::Now();
};

TEST_F(ClockTest, TheFirstPutIsRepeatedWithAnIdOfTheServersTimeAndLaterOnesHaveOne) {
  const auto first = client_.PutInput({.payload = {.data = "first"}});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(server_.InputOf(first->call_id), "first");
  EXPECT_TRUE(IsOfServersTime(first->call_id));
  EXPECT_EQ(server_.CountOf("PutInputs"), 2);
  ASSERT_TRUE(client_.PutInput({}).ok());
  EXPECT_EQ(server_.CountOf("PutInputs"), 3);
  EXPECT_TRUE(IsOfServersTime(MintCallId()));
}

TEST_F(ClockTest, OfABatchThoseWithIdsOfTheLibraryArePutAgain) {
  const std::string mine = MintCallId();
  const auto puts = client_.PutInputs(
      {{.payload = {.data = "a"}}, {.call_id = mine}, {.payload = {.data = "b"}}});
  ASSERT_THAT(puts, SizeIs(3));
  ASSERT_TRUE(puts[0].ok()) << puts[0].status();
  EXPECT_EQ(server_.InputOf(puts[0]->call_id), "a");
  EXPECT_EQ(ReasonOf(puts[1].status()), Reason::kIdOutsideWindow);
  ASSERT_TRUE(puts[2].ok()) << puts[2].status();
  EXPECT_EQ(server_.InputOf(puts[2]->call_id), "b");
  const auto requests = server_.RequestsOf<v1::PutInputsRequest>();
  ASSERT_THAT(requests, SizeIs(2));
  EXPECT_EQ(requests[0].items(1).call_id(), mine);
  EXPECT_EQ(requests[1].items_size(), 2);
}

TEST_F(ClockTest, CallsThatShareAMessageToo) {
  std::vector<Client::Future<Stored>> puts;
  for (int i = 0; i < 100; ++i) puts.push_back(client_.PutInputFuture({.payload = {.data = "x"}}));
  for (auto& put : puts) {
    const auto stored = put.get();
    ASSERT_TRUE(stored.ok()) << stored.status();
    EXPECT_EQ(server_.InputOf(stored->call_id), "x");
  }
}

TEST_F(ClockTest, AnUploadBeginsAgainWithAnIdOfTheServersTime) {
  const std::string data = Pattern(2 * kMiB + 3);
  const auto put = client_.PutInput({.payload = {.data = data}});
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_TRUE(server_.InputOf(put->call_id) == data);
  const auto headers = server_.RequestsOf<v1::UploadHeader>();
  ASSERT_THAT(headers, SizeIs(2));
  EXPECT_NE(headers[0].upload_id(), headers[1].upload_id());
}

TEST_F(ClockTest, AnUploadFromASourceToo) {
  TestSource source(Pattern(2 * kMiB + 3));
  const auto put = client_.UploadInput({}, &source);
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_TRUE(server_.InputOf(put->call_id) == source.data());
}

TEST_F(ClockTest, AnIdOfTheCallersIsRefusedAndTheNextIsOfTheServersTime) {
  const auto refused = client_.PutInput({.call_id = MintCallId()});
  EXPECT_EQ(ReasonOf(refused.status()), Reason::kIdOutsideWindow) << refused.status();
  EXPECT_EQ(server_.CountOf("PutInputs"), 1);
  EXPECT_TRUE(client_.PutInput({.call_id = MintCallId()}).ok());

  server_.SetClock(ServerTime() - absl::Now() - absl::Minutes(10));
  TestSource source(Pattern(2 * kMiB));
  EXPECT_EQ(ReasonOf(client_.UploadInput({.call_id = MintCallId()}, &source).status()),
            Reason::kIdOutsideWindow);
  EXPECT_TRUE(client_.PutInput({.call_id = MintCallId()}).ok());
}

TEST_F(ClockTest, AServerThatRefusesTheNewIdAsWellIsBelieved) {
  server_.FailAlways("PutInputs",
                     {.when = When::kItem, .item_status = IdTimeError(absl::Minutes(10))});
  EXPECT_EQ(ReasonOf(client_.PutInput({}).status()), Reason::kIdOutsideWindow);
  EXPECT_EQ(server_.CountOf("PutInputs"), 2);
  EXPECT_EQ(ReasonOf(client_.PutInputs({{}})[0].status()), Reason::kIdOutsideWindow);
  EXPECT_EQ(server_.CountOf("PutInputs"), 4);
}

}  // namespace
}  // namespace mayfly::client
