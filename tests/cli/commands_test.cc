// What retrieve does to the disk, in which order, and what becomes of the claim when it fails.
#include "cli/commands.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/mutex.h"
#include "cli/recording_file_system.h"
#include "cli/scratch.h"
#include "client/client_fixture.h"

namespace mayfly::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CommandsTest : public client::ClientFixture {
 protected:
  CommandsTest() {
    server_.OnAck([this] { Log("ack"); });
  }

  void Log(const std::string& event) EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    log_.push_back(event);
  }
  std::vector<std::string> TakeLog() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    return std::exchange(log_, {});
  }

  ExitCode Retrieve(const std::string& id, int failing_operation = 0) {
    RecordingFileSystem files([this](const std::string& event) { Log(event); });
    files.FailOperation(failing_operation);
    CommandLine line;
    line.verb = Verb::kRetrieve;
    line.call_ids = {id};
    line.output_file = scratch_.Path("out");
    line.wait = absl::ZeroDuration();
    Report report(&out_, &err_, /*json=*/false);
    ProgressBar bar{{}};
    Interruption interruption;
    return Commands(client_, line,
                    {.report = &report,
                     .bar = &bar,
                     .file_system = &files,
                     .interruption = &interruption})
        .Run();
  }

  Scratch scratch_;
  std::ostringstream out_;
  std::ostringstream err_;
  Mutex mutex_;
  std::vector<std::string> log_ GUARDED_BY(mutex_);
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

}  // namespace
}  // namespace mayfly::cli
