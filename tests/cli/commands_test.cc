// The order of retrieve's disk operations and its ack, and the state of the claim after each
// failure.
#include "cli/commands.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/output_file.h"
#include "cli/retrieval_fixture.h"

namespace mayfly::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CommandsTest : public RetrievalFixture {
 protected:
  CommandLine LineFor(const std::string& id) const {
    CommandLine line;
    line.call_ids = {id};
    line.output_file = scratch_.Path("out");
    line.wait = absl::ZeroDuration();
    return line;
  }
  ExitCode Retrieve(const std::string& id, int failing_operation = 0) {
    return Run(LineFor(id), failing_operation);
  }
  // As kill -9 before this operation. False if the command was over before.
  bool CrashesAt(const std::string& id, int operation) {
    try {
      Run(LineFor(id), /*failing_operation=*/0, operation);
      return false;
    } catch (const Crash&) {
      // With it everything that was known of the claim.
      client_ = NewClient();
      return true;
    }
  }
};

TEST_F(CommandsTest, TheFileAndItsDirectoryAreSyncedBeforeTheAck) {
  EXPECT_EQ(Retrieve(NewReadyCall("42")), kExitDone) << err_.str();
  EXPECT_THAT(TakeLog(),
              ElementsAre("create", "write", "sync", "sync directory",  // the claim token
                          "write", "sync",                              // attempt and size
                          "create", "write", "sync",                    // the data
                          "write", "sync",                              // that it is complete
                          "rename", "sync directory", "ack", "remove"));
  EXPECT_EQ(scratch_.Read("out"), "42");
  EXPECT_THAT(scratch_.Names(), ElementsAre("out"));
  EXPECT_EQ(out_.str(), "");
}

TEST_F(CommandsTest, AFailureOfAnyStepReleasesTheClaimAndLeavesNoHalfFile) {
  const std::string id = NewReadyCall("42");
  constexpr int kSteps = 13;
  constexpr int kFirstAfterClaim = 5;
  for (int step = 1; step <= kSteps; ++step) {
    scratch_.Write("out", "what was there before");
    EXPECT_EQ(Retrieve(id, step), kExitRefused);
    EXPECT_THAT(err_.str(), HasSubstr("disk on fire"));
    EXPECT_THAT(scratch_.Names(), ElementsAre("out")) << step;
    if (step < kSteps) {
      EXPECT_EQ(scratch_.Read("out"), "what was there before") << step;
    }
    EXPECT_EQ(server_.CountOf("Ack"), 0) << step;
    EXPECT_EQ(server_.CountOf("Release"), std::max(0, step - kFirstAfterClaim + 1));
    EXPECT_EQ(client_.DescribeCall(id)->state, client::CallState::kReady);
  }
  EXPECT_EQ(Retrieve(id), kExitDone);
  EXPECT_EQ(scratch_.Read("out"), "42");
}

TEST_F(CommandsTest, AnInputThatNeverBeganLeavesNothing) {
  server_.FailAlways("Download", {});
  client::ClientOptions options = QuickOptions();
  options.retry.attempts_max = 2;
  client_ = NewClient(options);
  CommandLine line = LineFor(client::MintCallId());
  line.verb = Verb::kGetInput;
  RecordingFileSystem files([](const std::string&) {});
  EXPECT_EQ(RunOn(&files, line), kExitNotReached) << err_.str();
  EXPECT_THAT(scratch_.Names(), testing::IsEmpty());
}

// The server of this test never lets a claim lapse: it is taken over.
TEST_F(CommandsTest, ACrashAtAnyStepIsMendedByTheSameCommand) {
  int step = 1;
  for (;; ++step) {
    SCOPED_TRACE(step);
    const std::string id = NewReadyCall(absl::StrCat("output ", step));
    std::filesystem::remove(scratch_.Path("out"));
    if (!CrashesAt(id, step)) break;
    err_.str("");
    ASSERT_EQ(Retrieve(id), kExitDone) << err_.str();
    EXPECT_EQ(scratch_.Read("out"), absl::StrCat("output ", step));
    EXPECT_THAT(scratch_.Names(), ElementsAre("out"));
    EXPECT_EQ(client_.DescribeCall(id)->state, client::CallState::kConsumed);
  }
  EXPECT_EQ(step, 15);
}

TEST_F(CommandsTest, AnAckWithoutAnAnswerIsRepeatedWithTheOutcome) {
  const std::string id = client_.PutInput({.payload = {.data = "input"}})->call_id;
  ASSERT_TRUE(client_
                  .PutOutput({.call_id = id,
                              .outcome = client::Outcome::kFailure,
                              .payload = {.data = "boom", .labels = {{"zone", "b"}}}})
                  .ok());
  ASSERT_TRUE(CrashesAt(id, 14));  // the removal after the ack
  EXPECT_EQ(client_.DescribeCall(id)->state, client::CallState::kConsumed);
  const int claims = server_.CountOf("ClaimOutputs");
  EXPECT_EQ(Retrieve(id), kExitOutcome) << err_.str();
  EXPECT_EQ(server_.CountOf("ClaimOutputs"), claims);
  EXPECT_THAT(err_.str(), HasSubstr("the outcome of attempt 1 is FAILURE"));
}

TEST_F(CommandsTest, AFileThatWasChangedBeforeTheAckIsWrittenAgain) {
  const std::string id = NewReadyCall("42");
  ASSERT_TRUE(CrashesAt(id, 13));  // the sync of the directory before the ack
  EXPECT_EQ(scratch_.Read("out"), "42");
  scratch_.Write("out", "43");
  EXPECT_EQ(Retrieve(id), kExitDone) << err_.str();
  EXPECT_EQ(scratch_.Read("out"), "42");
}

TEST_F(CommandsTest, AnEndBeforeTheAckIsToldBesideTheWholeFile) {
  const std::string id = NewReadyCall("42");
  ASSERT_TRUE(CrashesAt(id, 13));
  ASSERT_TRUE(client_.DeleteCall(id).ok());
  EXPECT_EQ(Retrieve(id), kExitGone);
  EXPECT_THAT(err_.str(), HasSubstr("; the file has the whole output, which was received before"));
  EXPECT_EQ(scratch_.Read("out"), "42");
  EXPECT_THAT(scratch_.Names(), ElementsAre("out"));
}

TEST_F(CommandsTest, TheRestOfANameThatIsAsLongAsMayBeIsCutOff) {
  CommandLine line = LineFor(NewReadyCall("42"));
  line.output_file = scratch_.Path(std::string(255, 'n'));
  EXPECT_EQ(Run(line, 0), kExitDone) << err_.str();
  EXPECT_EQ(scratch_.Read(std::string(255, 'n')), "42");
}

TEST_F(CommandsTest, ALinkIsFollowed) {
  scratch_.Write("target", "old");
  std::filesystem::create_symlink("target", scratch_.Path("out"));
  EXPECT_EQ(Retrieve(NewReadyCall("42")), kExitDone) << err_.str();
  EXPECT_EQ(scratch_.Read("target"), "42");
  EXPECT_TRUE(std::filesystem::is_symlink(scratch_.Path("out")));
}

TEST_F(CommandsTest, WhatMustNotBeReplacedIsRefusedBeforeTheClaim) {
  std::filesystem::create_directory(scratch_.Path("out"));
  EXPECT_EQ(Retrieve(NewReadyCall("42")), kExitRefused);
  EXPECT_EQ(server_.CountOf("ClaimOutputs"), 0);
}

// A later attempt replaced what was downloaded half, and its output is empty.
TEST(OutputFile, AnEmptyPayloadIsNotThePartOfTheOneBefore) {
  const Scratch scratch;
  OutputFile file(PosixFileSystem(), scratch.Path("out"));
  EXPECT_EQ(file.WriteAt(0, "a part"), absl::OkStatus());
  EXPECT_EQ(file.Finish(0), absl::OkStatus());
  EXPECT_EQ(scratch.Read("out"), "");
  EXPECT_THAT(scratch.Names(), ElementsAre("out"));
}

}  // namespace
}  // namespace mayfly::cli
