// The program on a terminal: the progress bar, and Ctrl-C.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "cli/real_server_fixture.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::UnorderedElementsAre;

constexpr char kCtrlC[] = "\x03";

class TerminalTest : public RealServerFixture {
 protected:
  ProgramPlan OnTerminal(const std::vector<std::string>& arguments) const {
    ProgramPlan plan = Plan(arguments);
    plan.err = terminal_.path();
    plan.new_session = true;
    return plan;
  }

  // The content of the line after everything was drawn.
  static std::string LastLine(std::string shown) {
    EXPECT_EQ(shown.substr(shown.size() - 2), "\r\n");
    shown.resize(shown.size() - 2);
    return shown.substr(shown.rfind("\x1b[K") + 3);
  }

  // Waits until part of an output has come, and stalls the rest.
  void StallMidway() {
    const uint64_t before = proxy_.PassedBytes(TcpProxy::kToClient);
    while (proxy_.PassedBytes(TcpProxy::kToClient) < before + 4 * kMiB) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    proxy_.Stall(TcpProxy::kToClient);
  }

  Terminal terminal_;
};

TEST_F(TerminalTest, ABarIsDrawnForPutAndRetrieve) {
  const std::string file = scratch_.Write("file", Pattern(20 * kMiB));
  EXPECT_EQ(Program(OnTerminal({"put-input", file})).Wait().exit_code, 0);
  const std::string call = scratch_.Read("stdout").substr(0, 36);
  EXPECT_TRUE(terminal_.WaitFor("\n"));
  EXPECT_THAT(LastLine(terminal_.Shown()),
              MatchesRegex("100 % \\[#+\\] 20\\.0 MiB of 20\\.0 MiB, [0-9.]+ [KM]iB/s"));
  PutOutput(call, Pattern(20 * kMiB));
  EXPECT_EQ(Program(OnTerminal({"retrieve", call})).Wait().exit_code, 0);
  EXPECT_TRUE(terminal_.WaitFor("\n\r\x1b[K  5 % [##"));
  EXPECT_TRUE(scratch_.Read("stdout") == Pattern(20 * kMiB));
}

TEST_F(TerminalTest, NothingIsDrawnWhenItIsPiped) {
  const std::string file = scratch_.Write("file", Pattern(20 * kMiB));
  const Finished put = Mayfly({"put-input", file});
  EXPECT_EQ(put.end.exit_code, 0);
  EXPECT_EQ(put.err, "");
}

TEST_F(TerminalTest, NothingIsDrawnForWhatIsThereAtOnceNorBesideJson) {
  const std::string small = scratch_.Write("small", "small");
  EXPECT_EQ(Program(OnTerminal({"put-input", small})).Wait().exit_code, 0);
  const std::string large = scratch_.Write("large", Pattern(3 * kMiB));
  EXPECT_EQ(Program(OnTerminal({"put-input", "--json", large})).Wait().exit_code, 0);
  EXPECT_EQ(terminal_.Shown(), "");
}

TEST_F(TerminalTest, NothingIsDrawnIntoAPayloadOnTheTerminal) {
  const std::string call = NewReadyCall(std::string(3 * kMiB, 'x'));
  ProgramPlan plan = OnTerminal({"retrieve", call});
  plan.out = terminal_.path();
  EXPECT_EQ(Program(std::move(plan)).Wait().exit_code, 0);
  // On a busy machine the wait is shown, and erased before the payload.
  const std::string shown = terminal_.Shown();
  const size_t erased = shown.rfind("\x1b[K");
  const std::string payload = erased == std::string::npos ? shown : shown.substr(erased + 3);
  EXPECT_EQ(payload.find_first_not_of('x'), std::string::npos);
  EXPECT_THAT(shown, testing::Not(HasSubstr("%")));
}

TEST_F(TerminalTest, AWaitIsShownAndErasedBeforeTheOutput) {
  const std::string call = NewCall();
  ProgramPlan plan = OnTerminal({"retrieve", call});
  plan.out = terminal_.path();
  Program program(std::move(plan));
  EXPECT_TRUE(terminal_.WaitFor(" waiting for the output, 0:01"));
  PutOutput(call, "the output");
  EXPECT_EQ(program.Wait().exit_code, 0);
  EXPECT_TRUE(terminal_.WaitFor("\r\x1b[Kthe output"));
}

TEST_F(TerminalTest, TheBarOfAMapCountsWhatEndedAndEndsWithTheTruth) {
  const std::vector<std::string> call_ids = {NewReadyCall("a"), NewReadyCall("b"), NewCall(),
                                             NewCall()};
  EXPECT_TRUE(client_.DeleteCall(call_ids[2]).ok());
  scratch_.Write("calls", absl::StrJoin(call_ids, "\n"));
  Program program(OnTerminal({"retrieve", "--all", scratch_.Path("calls"), "--dir",
                              scratch_.Path("outputs"), "--wait", "1s"}));
  EXPECT_EQ(program.Wait().exit_code, 3);
  EXPECT_TRUE(terminal_.WaitFor("2 of 4 outputs, 1 without output, 1 pending, 2 B, "));
}

TEST_F(TerminalTest, CtrlCInTheMiddleReleasesTheOutputAndSaysWhatIsKept) {
  const std::string call = NewReadyCall(Pattern(64 * kMiB));
  ProgramPlan plan = OnTerminal({"retrieve", call, "--output", scratch_.Path("got")});
  plan.in = terminal_.path();
  Program program(std::move(plan));
  StallMidway();
  ASSERT_TRUE(terminal_.WaitFor(" % ["));
  EXPECT_EQ(StateOf(call), client::CallState::kClaimed);
  terminal_.Type(kCtrlC);
  proxy_.GoOn();
  const ProgramEnd end = program.Wait();
  EXPECT_EQ(end.signal, SIGINT) << end.exit_code;
  EXPECT_TRUE(terminal_.WaitFor("mayfly: call " + call + ": cancelled: interrupted; "));
  EXPECT_TRUE(terminal_.WaitFor(" are kept, and the same command resumes"));
  EXPECT_THAT(scratch_.Names(),
              UnorderedElementsAre(".got." + call + ".mayfly", ".got." + call + ".part", "stdout"));
  EXPECT_TRUE(BecomesReady(call));
}

TEST_F(TerminalTest, CtrlCReleasesAnOutputThatNobodyReads) {
  const std::string call = NewReadyCall(Pattern(8 * kMiB));
  const std::string pipe = scratch_.Path("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int reader = open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  ProgramPlan plan = OnTerminal({"retrieve", call});
  plan.in = terminal_.path();
  plan.out = pipe;
  Program program(std::move(plan));
  char byte = 0;
  while (read(reader, &byte, 1) != 1) absl::SleepFor(absl::Milliseconds(1));
  terminal_.Type(kCtrlC);
  EXPECT_EQ(program.Wait().signal, SIGINT);
  EXPECT_TRUE(BecomesReady(call));
  close(reader);
}

TEST_F(TerminalTest, CtrlCEndsTheWaitForAnOutput) {
  const std::string call = NewCall();
  ProgramPlan plan = OnTerminal({"retrieve", call, "--wait", "1h"});
  plan.in = terminal_.path();
  Program program(std::move(plan));
  while (proxy_.PassedBytes(TcpProxy::kToServer) == 0) absl::SleepFor(absl::Milliseconds(1));
  terminal_.Type(kCtrlC);
  EXPECT_EQ(program.Wait().signal, SIGINT);
  EXPECT_EQ(StateOf(call), client::CallState::kPending);
}

TEST_F(TerminalTest, ASecondSignalEndsItAtOnce) {
  const std::string call = NewReadyCall(Pattern(64 * kMiB));
  Program program(OnTerminal({"retrieve", call, "--timeout", "1h"}));
  StallMidway();
  // The first one asks a server that does not answer to release the claim.
  program.Signal(SIGINT);
  const std::string status = absl::StrCat("/proc/", program.pid(), "/status");
  while (ReadWholeFile(status).find("\nShdPnd:\t0000000000000000") == std::string::npos) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Wait().signal, SIGTERM);
}

TEST_F(TerminalTest, CtrlCEndsAMapAndItGoesOnLater) {
  const std::string large = NewReadyCall(Pattern(64 * kMiB));
  const std::string pending = NewCall();
  scratch_.Write("calls", large + "\n" + pending + "\n");
  const std::vector<std::string> retrieve = {"retrieve", "--all", scratch_.Path("calls"), "--dir",
                                             scratch_.Path("outputs")};
  ProgramPlan plan = OnTerminal(retrieve);
  plan.in = terminal_.path();
  Program program(std::move(plan));
  StallMidway();
  ASSERT_TRUE(terminal_.WaitFor("0 of 2 outputs, "));
  terminal_.Type(kCtrlC);
  proxy_.GoOn();
  EXPECT_EQ(program.Wait().signal, SIGINT);
  EXPECT_TRUE(terminal_.WaitFor("interrupted, 0 of 2 outputs are saved"));
  EXPECT_EQ(Shell("ls outputs").out, "");
  EXPECT_TRUE(BecomesReady(large));
  PutOutput(pending, "small");
  EXPECT_EQ(Mayfly(retrieve).end.exit_code, 0);
  EXPECT_TRUE(scratch_.Read("outputs/" + large) == Pattern(64 * kMiB));
  EXPECT_EQ(scratch_.Read("outputs/" + pending), "small");
  EXPECT_EQ(StateOf(large), client::CallState::kConsumed);
}

}  // namespace
}  // namespace mayfly
