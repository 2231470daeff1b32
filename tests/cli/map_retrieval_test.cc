// The order of retrieve --all's disk operations and its acks, and the state of the claims after
// each failure.
#include "cli/map_retrieval.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <thread>
#include <utility>

#include "absl/strings/str_join.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/retrieval_fixture.h"

namespace mayfly::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Of RetrieveInto's operations on the disk for a small output.
constexpr int kSyncBeforeAck = 13;

ptrdiff_t Lines(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

class MapRetrievalTest : public RetrievalFixture {
 protected:
  MapRetrievalTest() { std::filesystem::create_directory(scratch_.Path("outputs")); }

  CommandLine LineFor(const std::vector<std::string>& call_ids) const {
    CommandLine line;
    line.verb = Verb::kRetrieve;
    line.list_file = scratch_.Write("calls", absl::StrJoin(call_ids, "\n"));
    line.directory = scratch_.Path("outputs");
    return line;
  }
  ExitCode Retrieve(const std::vector<std::string>& call_ids, int failing_operation = 0) {
    return Run(LineFor(call_ids), failing_operation);
  }
  ExitCode RetrieveAsJson(const std::string& call_id) {
    CommandLine line = LineFor({call_id});
    line.json = true;
    return Run(std::move(line), /*failing_operation=*/0);
  }
  // As a run for this call alone that dies at that operation on the disk.
  void DieAt(const std::string& call_id, int operation) {
    CommandLine line;
    line.call_ids = {call_id};
    line.output_file = scratch_.Path("outputs/" + call_id);
    line.wait = absl::ZeroDuration();
    EXPECT_THROW(Run(line, /*failing_operation=*/0, operation), Crash);
    client_ = NewClient();
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
  DieAt(id, kSyncBeforeAck);
  EXPECT_EQ(Output(id), "42");
  EXPECT_EQ(client_.DescribeCall(id)->state, client::CallState::kClaimed);
  const int claims = server_.CountOf("ClaimOutputs");
  EXPECT_EQ(Retrieve({id}), kExitDone) << err_.str();
  EXPECT_EQ(client_.DescribeCall(id)->state, client::CallState::kConsumed);
  EXPECT_EQ(server_.CountOf("ClaimOutputs"), claims);
  EXPECT_EQ(FileCount(), 1);
}

// The claim of the run that died has lapsed: the output is claimed again.
TEST_F(MapRetrievalTest, AnOutputThatIsInPlaceIsReportedOnceThoughItIsClaimedAgain) {
  const std::string id = NewReadyCall("42");
  DieAt(id, kSyncBeforeAck);
  server_.ForgetClaims();
  EXPECT_EQ(RetrieveAsJson(id), kExitDone) << err_.str();
  EXPECT_EQ(server_.CountOf("Ack"), 2);  // the first is refused
  EXPECT_EQ(Lines(out_.str()), 1) << out_.str();
}

// A run began a large output and died. When the next one asks, another client has the claim; then a
// later attempt replaces the output with a small one.
TEST_F(MapRetrievalTest, ASmallOutputLeavesNothingOfTheLargeOneBeforeIt) {
  const std::string id = NewReadyCall(std::string(3 * kMiB, 'x'));
  constexpr int kSecondPiece = 9;
  DieAt(id, kSecondPiece);
  EXPECT_EQ(FileCount(), 2);
  server_.ForgetClaims();
  server_.ClaimElsewhere(id, /*ack=*/false);
  std::thread other([&] {
    EXPECT_TRUE(server_.WaitFor("SubscriptionMessage", 1));
    server_.ForgetClaims();
    server_.AddOutput(id, 2, "small");
  });
  EXPECT_EQ(Retrieve({id}), kExitDone) << err_.str();
  other.join();
  EXPECT_EQ(Output(id), "small");
  EXPECT_EQ(FileCount(), 1);
  EXPECT_EQ(Retrieve({id}), kExitDone) << err_.str();
}

// A file without a record counts as saved: a run that dies while it removes both must not leave
// one.
TEST_F(MapRetrievalTest, ACrashWhileAReplacedOutputIsRemovedIsMendedByTheSameCommand) {
  const std::string later(2 * kMiB, 'y');
  for (const int removal : {1, 2}) {
    const std::string id = NewReadyCall(std::string(2 * kMiB, 'x'));
    bool replaced = false;
    server_.OnAck([&] {
      if (std::exchange(replaced, true)) return;
      server_.ForgetClaims();
      server_.AddOutput(id, 2, later);
    });
    RecordingFileSystem files([](const std::string&) {});
    files.CrashAtRemoval(removal);
    EXPECT_THROW(RunOn(&files, LineFor({id})), Crash);
    client_ = NewClient();
    EXPECT_EQ(Retrieve({id}), kExitDone) << err_.str();
    EXPECT_TRUE(Output(id) == later) << removal;
    EXPECT_EQ(client_.DescribeCall(id)->state, client::CallState::kConsumed);
  }
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
