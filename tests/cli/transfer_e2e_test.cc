// The program transfers payloads of any size: through pipes in bounded memory, over connections
// that break, and to full disks.
#include <iostream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/real_server_fixture.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;

// Of the program: its code and gRPC take some 30 MiB, the end of a pipe that is kept 33.
constexpr uint64_t kResidentBytesMax = 112 * kMiB;

class TransferTest : public RealServerFixture {
 protected:
  void WritePattern(size_t size) const {
    EXPECT_EQ(Shell(absl::StrCat("head -c ", size, " /dev/urandom > pattern")).end.exit_code, 0);
  }

  // The transfer of what Plan says is cut `cuts` times, each after `bytes` more.
  Finished RunWithCuts(ProgramPlan plan, TcpProxy::Direction direction, int cuts, uint64_t bytes) {
    Program program(std::move(plan));
    for (int i = 0; i < cuts; ++i) {
      proxy_.CutAfter(direction, bytes, TcpProxy::Ending::kReset);
      EXPECT_TRUE(proxy_.WaitForCut());
    }
    const ProgramEnd end = program.Wait();
    return {.end = end, .out = scratch_.Read("stdout"), .err = scratch_.Read("stderr")};
  }
};

TEST_F(TransferTest, EverySizeGoesRoundAndIsGoneAfterwards) {
  for (const size_t size : {size_t{0}, size_t{1}, kMiB - 1, kMiB, kMiB + 1, 5 * kMiB + 77}) {
    WritePattern(size);
    const Finished run = Shell(
        "call=$(mayfly put-input pattern);"
        "as_worker get-input $call | as_worker put-output $call;"
        "mayfly retrieve $call | cmp - pattern;"
        "mayfly retrieve $call");
    EXPECT_EQ(run.end.exit_code, 3) << size << run.err;
    EXPECT_THAT(run.err, HasSubstr("(OUTPUT_CONSUMED)")) << size;
  }
}

TEST_F(TransferTest, PipesOf256MiBDoNotGrowTheProgram) {
  WritePattern(256 * kMiB);
  const Finished put = Shell("cat pattern | mayfly put-input");
  ASSERT_EQ(put.end.exit_code, 0) << put.err;
  EXPECT_EQ(put.err, "");
  const std::string call = put.out.substr(0, 36);
  const Finished work = Shell("as_worker get-input " + call + " | as_worker put-output " + call);
  ASSERT_EQ(work.end.exit_code, 0) << work.err;
  const Finished retrieve = Shell("mayfly retrieve " + call + " | cmp - pattern");
  EXPECT_EQ(retrieve.end.exit_code, 0) << retrieve.err;
  EXPECT_EQ(retrieve.err, "");
  for (const Finished* run : {&put, &work, &retrieve}) {
    std::cout << "resident: " << run->end.resident_bytes_max / kMiB << " MiB\n";
    EXPECT_LT(run->end.resident_bytes_max, kResidentBytesMax);
  }
}

TEST_F(TransferTest, AnUploadGoesOnAfterCuts) {
  WritePattern(24 * kMiB);
  for (const std::string line : {"mayfly put-input pattern", "cat pattern | mayfly put-input"}) {
    const uint64_t before = proxy_.PassedBytes(TcpProxy::kToServer);
    const Finished run = RunWithCuts(ShellPlan(line), TcpProxy::kToServer, 3, 7 * kMiB + 12345);
    ASSERT_EQ(run.end.exit_code, 0) << run.err;
    EXPECT_EQ(run.err, "");
    // Only the data in flight at each cut is sent again, not the data before it.
    EXPECT_LT(proxy_.PassedBytes(TcpProxy::kToServer) - before, 34 * kMiB);
    EXPECT_EQ(Shell("as_worker get-input " + run.out.substr(0, 36) + " | cmp - pattern").err, "");
  }
}

TEST_F(TransferTest, TheSameCommandResumesAnUploadThatWasKilled) {
  WritePattern(24 * kMiB);
  const std::string call = NewCall();
  const uint64_t before = proxy_.PassedBytes(TcpProxy::kToServer);
  const std::string worker = server_->certificates() + "/worker";
  const std::vector<std::string> put = {
      "put-output",    call,    scratch_.Path("pattern"), "--cert",
      worker + ".pem", "--key", worker + ".key"};
  Program killed(Plan(put));
  while (proxy_.PassedBytes(TcpProxy::kToServer) < before + 12 * kMiB) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  proxy_.Stall(TcpProxy::kToServer);
  killed.Signal(SIGKILL);
  killed.Wait();
  proxy_.GoOn();
  const Finished again = Mayfly(put);
  EXPECT_EQ(again.end.exit_code, 0) << again.err;
  // What was in flight is sent again, not what the server had.
  EXPECT_LT(proxy_.PassedBytes(TcpProxy::kToServer) - before, 34 * kMiB);
  EXPECT_EQ(Shell("mayfly retrieve " + call + " | cmp - pattern").err, "");
}

TEST_F(TransferTest, ADownloadGoesOnAfterCuts) {
  const std::string pattern = Pattern(24 * kMiB);
  scratch_.Write("pattern", pattern);
  for (const std::string& target : {std::string(" --output got"), std::string(" > got")}) {
    const std::string call = NewReadyCall(pattern);
    const uint64_t before = proxy_.PassedBytes(TcpProxy::kToClient);
    const Finished run = RunWithCuts(ShellPlan("mayfly retrieve " + call + target),
                                     TcpProxy::kToClient, 3, 7 * kMiB + 12345);
    ASSERT_EQ(run.end.exit_code, 0) << run.err;
    EXPECT_LT(proxy_.PassedBytes(TcpProxy::kToClient) - before, 34 * kMiB);
    EXPECT_TRUE(scratch_.Read("got") == pattern);
    EXPECT_EQ(StateOf(call), client::CallState::kConsumed);
  }
}

TEST_F(TransferTest, AStdoutThatIsFullReleasesALargeOutput) {
  const std::string call = NewReadyCall(Pattern(5 * kMiB));
  ProgramPlan plan = Plan({"retrieve", call});
  plan.out = "/dev/full";
  const ProgramEnd end = Program(std::move(plan)).Wait();
  EXPECT_EQ(end.exit_code, 5);
  EXPECT_EQ(scratch_.Read("stderr"),
            "mayfly: call " + call +
                ": failed precondition: stdout cannot be written to: No space left on device\n");
  EXPECT_TRUE(BecomesReady(call));
}

TEST_F(TransferTest, AFileThatMayNotGrowReleasesALargeOutput) {
  const std::string call = NewReadyCall(Pattern(5 * kMiB));
  const Finished run = Shell("ulimit -f 2048; mayfly retrieve " + call + " --output got");
  EXPECT_EQ(run.end.exit_code, 5);
  EXPECT_THAT(run.err, HasSubstr("the output file cannot be written: "));
  EXPECT_THAT(run.err, HasSubstr("File too large"));
  EXPECT_TRUE(BecomesReady(call));
  for (const std::string& name : scratch_.Names()) EXPECT_EQ(name.find("got"), std::string::npos);
}

TEST_F(TransferTest, AReaderThatHasGoneReleasesTheOutput) {
  const std::string call = NewReadyCall(Pattern(5 * kMiB));
  const Finished run = Shell("mayfly retrieve " + call + " | head -c 100000 > got");
  EXPECT_EQ(run.end.exit_code, 5);
  EXPECT_THAT(run.err, HasSubstr("stdout cannot be written to: Broken pipe"));
  EXPECT_TRUE(BecomesReady(call));
}

TEST_F(TransferTest, ASlowReaderAndASlowWriterHaveTheirTime) {
  WritePattern(8 * kMiB);
  const Finished put = Shell(
      "(head -c 4000000 pattern; sleep 3; tail -c +4000001 pattern) | "
      "mayfly --timeout 1s put-input");
  ASSERT_EQ(put.end.exit_code, 0) << put.err;
  const Finished get = Shell("mayfly --timeout 1s --cert " + server_->certificates() +
                             "/worker.pem --key " + server_->certificates() + "/worker.key " +
                             "get-input " + put.out.substr(0, 36) + " | (sleep 3; cmp - pattern)");
  EXPECT_EQ(get.end.exit_code, 0) << get.err;
}

}  // namespace
}  // namespace mayfly
