#include "rpc/grpc_log.h"

#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include <gmock/gmock.h>
#include <grpc/support/log.h>
#include <gtest/gtest.h>

#include "rpc/recording_log.h"

namespace mayfly {
namespace {

constexpr absl::Duration kStart = absl::Hours(1);

TEST(LineLimitTest, LetsSoManyThroughInEachInterval) {
  LineLimit limit;
  for (int interval = 0; interval < 3; ++interval) {
    const absl::Duration now = kStart + interval * LineLimit::kInterval;
    int written = 0;
    for (int i = 0; i < 100; ++i) written += limit.Take(now) ? 1 : 0;
    EXPECT_EQ(written, LineLimit::kLinesMax);
  }
}

TEST(LineLimitTest, TellsOnceHowManyItDidNot) {
  LineLimit limit;
  for (int i = 0; i < LineLimit::kLinesMax + 7; ++i) limit.Take(kStart);
  EXPECT_EQ(limit.LeftOut(kStart), 0);
  EXPECT_EQ(limit.LeftOut(kStart + LineLimit::kInterval), 7);
  EXPECT_EQ(limit.LeftOut(kStart + LineLimit::kInterval), 0);
}

TEST(GrpcLogTest, WritesAFewLinesAndAccountsForAll) {
  constexpr int kThreads = 4;
  constexpr int kLinesEach = 500;
  RecordingLog log;
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
  SendGrpcLogTo(&log);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([] {
      for (int line = 0; line < kLinesEach; ++line) gpr_log(GPR_ERROR, "no handshake");
    });
  }
  for (std::thread& thread : threads) thread.join();
  SendGrpcLogTo(nullptr);

  int64_t written = 0;
  int64_t left_out = 0;
  for (const std::string& line : log.lines()) {
    const std::vector<std::string> parts = absl::StrSplit(line, "lines_left_out=");
    int64_t count = 0;
    if (parts.size() == 2 && absl::SimpleAtoi(parts[1], &count)) {
      left_out += count;
    } else if (absl::StrContains(line, "no handshake")) {
      ++written;
    }
  }
  EXPECT_EQ(written + left_out, kThreads * kLinesEach);
  // It may take some seconds on a busy machine.
  EXPECT_LT(written, kThreads * kLinesEach / 4);
  EXPECT_GE(written, LineLimit::kLinesMax);
}

}  // namespace
}  // namespace mayfly
