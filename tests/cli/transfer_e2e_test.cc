// The program transfers payloads of any size: through pipes in bounded memory, over connections
// that break, and to full disks.
#include <fcntl.h>
#include <iostream>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

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

  // A signal that comes before ends the program at once.
  static void WaitUntilSignalsAreWatched(const Program& program) {
    const std::string status = absl::StrCat("/proc/", program.pid(), "/status");
    while (ReadWholeFile(status).find("SigBlk:\t000000000000400") == std::string::npos) {
      absl::SleepFor(absl::Milliseconds(1));
    }
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

// put-input mints an id, which the command that it prints has.
TEST_F(TransferTest, AnInputThatIsInterruptedSaysHowToResume) {
  WritePattern(24 * kMiB);
  const uint64_t before = proxy_.PassedBytes(TcpProxy::kToServer);
  Program program(
      Plan({"put-input", scratch_.Path("pattern"), "--label", "name=it's", "--ttl", "1h"}));
  while (proxy_.PassedBytes(TcpProxy::kToServer) < before + 12 * kMiB) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  proxy_.Stall(TcpProxy::kToServer);
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait().signal, SIGINT);
  proxy_.GoOn();
  const std::string told = scratch_.Read("stderr");
  EXPECT_THAT(told, HasSubstr(": cancelled: interrupted\nmayfly: to resume, run: "));
  const std::string command = told.substr(told.find("run: ") + 5);
  EXPECT_THAT(command, HasSubstr("mayfly put-input --call-id "));
  EXPECT_THAT(command, HasSubstr(" --ttl 1h --label 'name=it'\\''s' "));
  const Finished again = Shell(command);
  ASSERT_EQ(again.end.exit_code, 0) << again.err;
  EXPECT_LT(proxy_.PassedBytes(TcpProxy::kToServer) - before, 34 * kMiB);
  EXPECT_THAT(command, HasSubstr(" --call-id " + again.out.substr(0, 36)));
  EXPECT_EQ(Shell("as_worker get-input " + again.out.substr(0, 36) + " | cmp - pattern").err, "");
}

TEST_F(TransferTest, ManyInputsThatAreInterruptedSayHowToResume) {
  ASSERT_EQ(Shell("mkdir many; for i in 1 2 3; do head -c 12000000 /dev/urandom > many/$i; done")
                .end.exit_code,
            0);
  Program program(Plan({"put-input", "--all", scratch_.Path("many")}));
  while (scratch_.Read("stdout").empty()) absl::SleepFor(absl::Milliseconds(1));
  proxy_.Stall(TcpProxy::kToServer);
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait().signal, SIGINT);
  proxy_.GoOn();
  const std::string told = scratch_.Read("stderr");
  EXPECT_THAT(told, testing::ContainsRegex(
                        "many/[23]: interrupted\nmayfly: to resume, run: .* --call-id .*/[23]\n"
                        "mayfly: cancelled: interrupted, [12] of 3 inputs are stored\n"));
  const size_t run = told.find("run: ") + 5;
  EXPECT_EQ(Shell(told.substr(run, told.find('\n', run) - run)).end.exit_code, 0);
}

TEST_F(TransferTest, AnInputWhoseServerHasGoneSaysHowToResume) {
  WritePattern(3 * kMiB);
  proxy_.Stall(TcpProxy::kToServer);
  const Finished run = Shell("cat pattern | mayfly --timeout 1s --json put-input 2>&1 || true");
  EXPECT_THAT(run.out, testing::ContainsRegex("\"resume\":\"[^\"]*mayfly --json --timeout 1s "
                                              "put-input --call-id [-0-9a-f]+\""));
  proxy_.GoOn();
}

TEST_F(TransferTest, CtrlCWhileTheListOfCallsIsAwaitedEndsARetrieve) {
  const std::string pipe = scratch_.Path("pipe");
  const std::string no_writer = scratch_.Path("pipe without a writer");
  for (const std::string& path : {pipe, no_writer}) ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const int writer = open(pipe.c_str(), O_RDWR | O_CLOEXEC);
  // To read the one and to open the other takes until somebody writes.
  for (const std::string& list : {std::string("-"), no_writer}) {
    ProgramPlan plan = Plan({"retrieve", "--all", list, "--dir", scratch_.Path("outputs")});
    plan.in = pipe;
    Program program(std::move(plan));
    WaitUntilSignalsAreWatched(program);
    program.Signal(SIGINT);
    EXPECT_EQ(program.Wait().signal, SIGINT);
    EXPECT_EQ(scratch_.Read("stderr"), "");
  }
  close(writer);
}

TEST_F(TransferTest, CtrlCWhileThePipeIsSilentEndsAPut) {
  const std::string pipe = scratch_.Path("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int writer = open(pipe.c_str(), O_RDWR | O_CLOEXEC);
  for (const size_t sent : {size_t{0}, 3 * kMiB}) {
    ProgramPlan plan = Plan({"put-input"});
    plan.in = pipe;
    const uint64_t before = proxy_.PassedBytes(TcpProxy::kToServer);
    Program program(std::move(plan));
    const std::string data(sent, 'x');
    for (size_t done = 0; done < sent;) {
      done += static_cast<size_t>(write(writer, data.data() + done, sent - done));
    }
    while (proxy_.PassedBytes(TcpProxy::kToServer) < before + sent / 2) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    WaitUntilSignalsAreWatched(program);
    program.Signal(SIGINT);
    EXPECT_EQ(program.Wait().signal, SIGINT);
    EXPECT_EQ(scratch_.Read("stderr").find("to resume") != std::string::npos, sent > 0);
  }
  close(writer);
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
