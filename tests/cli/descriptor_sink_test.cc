#include "cli/descriptor_sink.h"

#include <fcntl.h>
#include <thread>
#include <unistd.h>

#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/scratch.h"

namespace mayfly::cli {
namespace {

using ::testing::HasSubstr;

class DescriptorSinkTest : public ::testing::Test {
 protected:
  ~DescriptorSinkTest() override { close(descriptor_); }

  const Scratch scratch_;
  Interruption interruption_;
  const int descriptor_ = open(scratch_.Path("out").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  DescriptorSink sink_{descriptor_, &interruption_};
};

TEST_F(DescriptorSinkTest, WritesOnePieceBehindTheOther) {
  EXPECT_EQ(sink_.WriteAt(0, "one "), absl::OkStatus());
  EXPECT_EQ(sink_.WriteAt(4, "two"), absl::OkStatus());
  EXPECT_EQ(sink_.Finish(7), absl::OkStatus());
  EXPECT_EQ(scratch_.Read("out"), "one two");
}

TEST_F(DescriptorSinkTest, CannotTakeBackWhatALaterAttemptReplaced) {
  EXPECT_EQ(sink_.WriteAt(0, "one "), absl::OkStatus());
  const absl::Status status = sink_.WriteAt(0, "two");
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("after 4 bytes of the earlier one were written to stdout"));
  // One that has no pieces says so at the end.
  EXPECT_TRUE(absl::IsFailedPrecondition(sink_.Finish(0)));
}

TEST_F(DescriptorSinkTest, WritesNothingOnceItIsInterrupted) {
  interruption_.Interrupt();
  EXPECT_TRUE(absl::IsCancelled(sink_.WriteAt(0, "one ")));
  EXPECT_EQ(scratch_.Read("out"), "");
}

TEST(Interruption, RunsTheActionOnceWhenItComesAndAtOnceWhenItHasCome) {
  Interruption interruption;
  int runs = 0;
  interruption.SetAction([&] { ++runs; });
  EXPECT_EQ(runs, 0);
  EXPECT_FALSE(interruption.IsInterrupted());
  interruption.Interrupt();
  EXPECT_EQ(runs, 1);
  interruption.SetAction([&] { runs += 10; });
  EXPECT_EQ(runs, 11);
  interruption.SetAction(nullptr);
  interruption.Interrupt();
  EXPECT_EQ(runs, 11);
}

}  // namespace
}  // namespace mayfly::cli
