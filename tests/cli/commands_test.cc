// The order of retrieve's disk operations and its ack, and the state of the claim after each
// failure.
#include "cli/commands.h"

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
  ExitCode Retrieve(const std::string& id, int failing_operation = 0) {
    CommandLine line;
    line.call_ids = {id};
    line.output_file = scratch_.Path("out");
    line.wait = absl::ZeroDuration();
    return Run(std::move(line), failing_operation);
  }
};

TEST_F(CommandsTest, TheFileAndItsDirectoryAreSyncedBeforeTheAck) {
  EXPECT_EQ(Retrieve(NewReadyCall("42")), kExitDone) << err_.str();
  EXPECT_THAT(TakeLog(), ElementsAre("create", "write", "sync", "rename", "sync directory", "ack"));
  EXPECT_EQ(scratch_.Read("out"), "42");
  EXPECT_THAT(scratch_.Names(), ElementsAre("out"));
  EXPECT_EQ(out_.str(), "");
}

TEST_F(CommandsTest, AFailureOfAnyStepReleasesTheClaimAndLeavesNoHalfFile) {
  const std::string id = NewReadyCall("42");
  for (int step = 1; step <= 5; ++step) {
    scratch_.Write("out", "what was there before");
    EXPECT_EQ(Retrieve(id, step), kExitRefused);
    EXPECT_THAT(err_.str(), HasSubstr("disk on fire"));
    EXPECT_THAT(scratch_.Names(), ElementsAre("out")) << step;
    if (step < 5) {
      EXPECT_EQ(scratch_.Read("out"), "what was there before") << step;
    }
    EXPECT_EQ(server_.CountOf("Ack"), 0) << step;
    EXPECT_EQ(server_.CountOf("Release"), step);
    EXPECT_EQ(client_.DescribeCall(id)->state, client::CallState::kReady);
  }
  EXPECT_EQ(Retrieve(id), kExitDone);
  EXPECT_EQ(scratch_.Read("out"), "42");
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
  EXPECT_EQ(Retrieve(NewReadyCall("42")), kExitUsage);
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
