#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/progress_bar.h"
#include "cli/progress_line.h"
#include "support/sizes.h"

namespace mayfly::cli {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ProgressLine, TellsShareAmountRateAndTimeLeft) {
  const ProgressFigures figures = {.bytes = 512 * kMiB,
                                   .bytes_total = 1024 * kMiB,
                                   .bytes_per_second = 128.0 * kMiB,
                                   .left = absl::Seconds(4)};
  EXPECT_EQ(ProgressLine(figures, 73),
            " 50 % [##########----------] 512.0 MiB of 1.0 GiB, 128.0 MiB/s, 0:04 left");
}

TEST(ProgressLine, FitsIntoAnyTerminal) {
  const ProgressFigures figures = {.bytes = 512 * kMiB,
                                   .bytes_total = 1024 * kMiB,
                                   .bytes_per_second = 128.0 * kMiB,
                                   .left = absl::Seconds(4)};
  for (int columns = 0; columns < 200; ++columns) {
    EXPECT_LE(ProgressLine(figures, columns).size(), static_cast<size_t>(columns));
  }
  EXPECT_EQ(ProgressLine(figures, 50), " 50 % 512.0 MiB of 1.0 GiB, 128.0 MiB/s, 0:04 left");
  EXPECT_EQ(ProgressLine(figures, 20), " 50 % 512.0 MiB of 1");
  EXPECT_EQ(ProgressLine(figures, -1), "");
}

TEST(ProgressLine, MakesNoGuessesWithoutATotal) {
  EXPECT_EQ(ProgressLine({.bytes = 3 * kMiB, .bytes_per_second = 1024}, 80), "3.0 MiB, 1.0 KiB/s");
  EXPECT_EQ(ProgressLine({.bytes = 0, .bytes_total = 0}, 80), "0 B of 0 B, 0 B/s");
}

TEST(ProgressLine, CountsOutputsOfAMap) {
  const std::string line = ProgressLine(
      {.bytes = 7 * kMiB, .outputs = OutputCounts{.saved = 2500, .total = 10'000}}, 90);
  EXPECT_THAT(line, HasSubstr(" 25 % [#"));
  EXPECT_THAT(line, EndsWith("] 2500 of 10000 outputs, 7500 pending, 7.0 MiB, 0 B/s"));
}

TEST(ProgressLine, CallsThatEndedWithoutOutputAreDoneToo) {
  const std::string line =
      ProgressLine({.bytes = 1, .outputs = OutputCounts{.saved = 8, .ended = 2, .total = 10}}, 90);
  EXPECT_THAT(line, HasSubstr("100 % [#"));
  EXPECT_THAT(line, EndsWith("] 8 of 10 outputs, 2 without output, 1 B, 0 B/s"));
}

TEST(ProgressLine, AWaitTellsItsTime) {
  EXPECT_EQ(WaitLine(absl::ZeroDuration(), 80), "| waiting for the output, 0:00");
  EXPECT_EQ(WaitLine(absl::Milliseconds(72'300), 80), "/ waiting for the output, 1:12");
  EXPECT_EQ(WaitLine(absl::Seconds(1), 9), "| waiting");
}

TEST(ProgressLine, APayloadThatGrewIsNoMoreThanWhole) {
  EXPECT_THAT(ProgressLine({.bytes = 3 * kMiB, .bytes_total = 2 * kMiB}, 80), HasSubstr("100 %"));
}

TEST(ProgressLine, WritesBytesAsPeopleDo) {
  EXPECT_EQ(BytesText(0), "0 B");
  EXPECT_EQ(BytesText(1023), "1023 B");
  EXPECT_EQ(BytesText(1024), "1.0 KiB");
  EXPECT_EQ(BytesText(kMiB - 1), "1.0 MiB");
  EXPECT_EQ(BytesText(UINT64_MAX), "16.0 EiB");
}

TEST(ProgressLine, WritesTimesAsClocksDo) {
  EXPECT_EQ(ClockText(absl::ZeroDuration()), "0:00");
  EXPECT_EQ(ClockText(absl::Milliseconds(3001)), "0:04");
  EXPECT_EQ(ClockText(absl::Seconds(3599)), "59:59");
  EXPECT_EQ(ClockText(absl::Seconds(3723)), "1:02:03");
  EXPECT_EQ(ClockText(absl::Hours(100)), "long");
}

class ProgressBarTest : public ::testing::Test {
 protected:
  // The text drawn since the last call.
  std::string Drawn() {
    std::string text = out_.str();
    out_.str("");
    return text;
  }

  std::ostringstream out_;
  absl::Time now_ = absl::UnixEpoch();
  ProgressBar bar_{{.out = &out_, .columns = [] { return 80; }, .now = [this] { return now_; }}};
};

TEST_F(ProgressBarTest, DrawsOverItselfAtMostTenTimesASecond) {
  bar_.ShowBytes(0, 100 * kMiB);
  EXPECT_EQ(Drawn().rfind("\r\x1b[K  0 %", 0), 0);
  int drawn = 0;
  for (int i = 1; i <= 1000; ++i) {
    now_ += absl::Milliseconds(1);
    bar_.ShowBytes(i * kMiB / 100, 100 * kMiB);
    if (!Drawn().empty()) ++drawn;
  }
  EXPECT_EQ(drawn, 10);
}

TEST_F(ProgressBarTest, TheRateIsThatOfTheLastSeconds) {
  for (int second = 0; second < 20; ++second) {
    bar_.ShowBytes(second * 10 * kMiB, 1000 * kMiB);
    now_ += absl::Seconds(1);
  }
  EXPECT_THAT(Drawn(), EndsWith("190.0 MiB of 1000.0 MiB, 10.0 MiB/s, 1:21 left"));
  for (int second = 0; second < 6; ++second) {
    bar_.ShowBytes(200 * kMiB + second * kMiB, 1000 * kMiB);
    now_ += absl::Seconds(1);
  }
  EXPECT_THAT(Drawn(), EndsWith(" 1.0 MiB/s, 13:15 left"));
}

TEST_F(ProgressBarTest, ATransferThatHasStoppedHasNoTimeLeftToTell) {
  bar_.ShowBytes(kMiB, 2 * kMiB);
  now_ += absl::Seconds(20);
  bar_.ShowBytes(kMiB, 2 * kMiB);
  EXPECT_THAT(Drawn(), EndsWith("0 B/s"));
}

TEST_F(ProgressBarTest, TheEndStaysWithTheRateOfTheWhole) {
  bar_.ShowBytes(0, 30 * kMiB);
  now_ += absl::Seconds(10);
  bar_.ShowBytes(kMiB, 30 * kMiB);
  now_ += absl::Milliseconds(5);
  bar_.ShowBytes(30 * kMiB, 30 * kMiB);
  Drawn();
  bar_.End();
  const std::string end = Drawn();
  EXPECT_THAT(end, HasSubstr("100 %"));
  EXPECT_THAT(end, EndsWith("30.0 MiB of 30.0 MiB, 3.0 MiB/s\n"));
  bar_.End();
  bar_.Hide();
  EXPECT_EQ(Drawn(), "");
}

TEST_F(ProgressBarTest, HidesForOthersAndComesBack) {
  bar_.ShowBytes(0, kMiB);
  Drawn();
  bar_.Hide();
  EXPECT_EQ(Drawn(), "\r\x1b[K");
  bar_.ShowBytes(1, kMiB);
  EXPECT_THAT(Drawn(), Not(testing::IsEmpty()));
}

TEST_F(ProgressBarTest, NothingIsDrawnWhenNothingWasTransferred) {
  bar_.End();
  bar_.Hide();
  EXPECT_EQ(Drawn(), "");
}

TEST_F(ProgressBarTest, AWaitGivesWayToTheTransfer) {
  bar_.ShowWait(absl::Seconds(1));
  EXPECT_THAT(Drawn(), HasSubstr("waiting for the output, 0:01"));
  now_ += absl::Seconds(1);
  bar_.ShowBytes(1, kMiB);
  Drawn();
  now_ += absl::Seconds(1);
  bar_.ShowWait(absl::Seconds(2));
  EXPECT_EQ(Drawn(), "");
}

TEST_F(ProgressBarTest, NothingStaysOfAWait) {
  bar_.ShowWait(absl::Seconds(1));
  Drawn();
  bar_.End();
  EXPECT_EQ(Drawn(), "\r\x1b[K");
}

TEST(ProgressBar, WithoutATerminalIsSilent) {
  ProgressBar bar{{}};
  bar.ShowBytes(1, 2);
  bar.ShowOutputs({.saved = 1, .total = 2}, 3);
  bar.ShowWait(absl::Seconds(1));
  bar.Hide();
  bar.End();
}

}  // namespace
}  // namespace mayfly::cli
