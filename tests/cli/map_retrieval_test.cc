// The order of retrieve --all's disk operations and its acks, and the state of the claims after
// each failure.
#include "cli/map_retrieval.h"

#include <filesystem>
#include <iterator>

#include "absl/strings/str_join.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/retrieval_fixture.h"

namespace mayfly::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class MapRetrievalTest : public RetrievalFixture {
 protected:
  MapRetrievalTest() { std::filesystem::create_directory(scratch_.Path("outputs")); }

  ExitCode Retrieve(const std::vector<std::string>& call_ids, int failing_operation = 0) {
    CommandLine line;
    line.list_file = scratch_.Write("calls", absl::StrJoin(call_ids, "\n"));
    line.directory = scratch_.Path("outputs");
    return Run(std::move(line), failing_operation);
  }
  std::string Output(const std::string& call_id) const {
    return scratch_.Read("outputs/" + call_id);
  }
  ptrdiff_t FileCount() const {
    const std::filesystem::directory_iterator files(scratch_.Path("outputs"));
    return std::distance(begin(files), end(files));
  }
};

TEST_F(MapRetrievalTest, FileAndDirectoryAreSyncedBeforeTheAck) {
  const std::string id = NewReadyCall("42");
  EXPECT_EQ(Retrieve({id}), kExitDone) << err_.str();
  EXPECT_THAT(TakeLog(), ElementsAre("create", "write", "sync", "rename", "sync directory", "ack"));
  EXPECT_EQ(Output(id), "42");
  EXPECT_EQ(FileCount(), 1);
}

TEST_F(MapRetrievalTest, AFailureOfAnyStepReleasesTheClaimAndLeavesNoFile) {
  const std::string id = NewReadyCall("42");
  for (int step = 1; step <= 5; ++step) {
    err_.str("");
    EXPECT_EQ(Retrieve({id}, step), kExitRefused) << step;
    EXPECT_THAT(err_.str(), HasSubstr("disk on fire"));
    EXPECT_EQ(FileCount(), 0) << step;
    EXPECT_EQ(server_.CountOf("Ack"), 0) << step;
    EXPECT_EQ(client_.DescribeCall(id)->state, client::CallState::kReady) << step;
  }
  EXPECT_EQ(Retrieve({id}), kExitDone);
  EXPECT_EQ(Output(id), "42");
}

TEST_F(MapRetrievalTest, AnOutputThatALaterAttemptReplacedIsRetrievedAgain) {
  const std::string id = NewReadyCall("first");
  bool replaced = false;
  server_.OnAck([&] {
    if (std::exchange(replaced, true)) return;
    server_.ForgetClaims();
    server_.AddOutput(id, 2, "the second");
  });
  EXPECT_EQ(Retrieve({id}), kExitDone) << err_.str();
  EXPECT_EQ(Output(id), "the second");
  EXPECT_EQ(err_.str(), "");
}

TEST_F(MapRetrievalTest, AnAckThatIsRefusedIsReported) {
  const std::string id = NewReadyCall("42");
  bool once = false;
  server_.OnAck([&] {
    if (std::exchange(once, true)) return;
    server_.ForgetClaims();
    server_.ClaimElsewhere(id, /*ack=*/true);
  });
  EXPECT_EQ(Retrieve({id}), kExitGone);
  EXPECT_THAT(err_.str(), HasSubstr("call " + id + ": not found"));
}

// As a run that died between the two leaves it.
TEST_F(MapRetrievalTest, AnOutputThatIsInPlaceAndNotAcknowledgedIsAcknowledged) {
  const std::string id = NewReadyCall("42");
  CommandLine line;
  line.call_ids = {id};
  line.output_file = scratch_.Path("outputs/" + id);
  line.wait = absl::ZeroDuration();
  constexpr int kSyncBeforeAck = 13;
  EXPECT_THROW(Run(line, /*failing_operation=*/0, kSyncBeforeAck), Crash);
  client_ = NewClient();
  EXPECT_EQ(Output(id), "42");
  EXPECT_EQ(client_.DescribeCall(id)->state, client::CallState::kClaimed);
  const int claims = server_.CountOf("ClaimOutputs");
  EXPECT_EQ(Retrieve({id}), kExitDone) << err_.str();
  EXPECT_EQ(client_.DescribeCall(id)->state, client::CallState::kConsumed);
  EXPECT_EQ(server_.CountOf("ClaimOutputs"), claims);
  EXPECT_EQ(FileCount(), 1);
}

TEST_F(MapRetrievalTest, AnOutcomeThatIsNoSuccessIsSaid) {
  const std::string id = client_.PutInput({.payload = {.data = "input"}})->call_id;
  ASSERT_TRUE(client_
                  .PutOutput({.call_id = id,
                              .attempt = 3,
                              .outcome = client::Outcome::kFailure,
                              .payload = {.data = "boom"}})
                  .ok());
  EXPECT_EQ(Retrieve({id, NewReadyCall("42")}), kExitOutcome);
  EXPECT_EQ(err_.str(), "mayfly: call " + id + ": the outcome of attempt 3 is FAILURE\n");
}

TEST_F(MapRetrievalTest, AnEmptyListIsDone) {
  EXPECT_EQ(Retrieve({}), kExitDone);
  EXPECT_THAT(server_.Events(), IsEmpty());
}

}  // namespace
}  // namespace mayfly::cli
