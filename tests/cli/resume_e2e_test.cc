// Downloads to files that are broken off in one process and resumed by the same command in another.
#include <algorithm>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/real_server_fixture.h"

namespace mayfly {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr size_t kSize = 24 * kMiB;
constexpr size_t kBefore = 12 * kMiB;  // that pass before it is broken off
// Less than is needed to begin again.
constexpr uint64_t kAgainMax = kSize + 10 * kMiB;

class ResumeTest : public RealServerFixture {
 protected:
  // Runs until the client has got kBefore bytes, and no more come. Neither end hears of the other.
  void StallAt(uint64_t bytes) {
    while (proxy_.PassedBytes(TcpProxy::kToClient) < bytes) absl::SleepFor(absl::Milliseconds(1));
    proxy_.Stall(TcpProxy::kToClient);
    proxy_.Stall(TcpProxy::kToServer);
  }
  // As a power loss at the client's machine: the server does not learn of it.
  void KillMidway(const std::vector<std::string>& arguments) {
    Program program(Plan(arguments));
    StallAt(proxy_.PassedBytes(TcpProxy::kToClient) + kBefore);
    program.Signal(SIGKILL);
    program.Wait();
  }
  // A client that the server has not heard of yet.
  std::vector<std::string> Directly(std::vector<std::string> arguments) const {
    arguments.push_back("--server");
    arguments.push_back(absl::StrCat("127.0.0.1:", server_->port()));
    return arguments;
  }
  std::vector<std::string> Retrieve(const std::string& call_id) const {
    // Much shorter than the lease of the claim that the killed process holds.
    return {"retrieve", call_id, "--output", scratch_.Path("got"), "--wait", "1s"};
  }
  std::vector<std::string> RetrieveAll(const std::vector<std::string>& call_ids) const {
    std::string list;
    for (const std::string& call_id : call_ids) list += call_id + "\n";
    return {"retrieve", "--all", scratch_.Write("calls", list), "--dir", scratch_.Path("outputs"),
            "--wait",   "1s"};
  }
  std::string HiddenName(const std::string& call_id, const std::string& ending) const {
    return ".got." + call_id + ending;
  }
  uint64_t Passed() const { return proxy_.PassedBytes(TcpProxy::kToClient); }

  const std::string pattern_ = Pattern(kSize);
};

TEST_F(ResumeTest, TheSameCommandTakesTheClaimOverAndGoesOn) {
  const std::string call = NewReadyCall(pattern_);
  KillMidway(Retrieve(call));
  EXPECT_EQ(StateOf(call), client::CallState::kClaimed);
  EXPECT_THAT(scratch_.Names(),
              UnorderedElementsAre(HiddenName(call, ".mayfly"), HiddenName(call, ".part"), "stdout",
                                   "stderr"));
  const Finished again = Mayfly(Directly(Retrieve(call)));
  EXPECT_EQ(again.end.exit_code, 0) << again.err;
  EXPECT_TRUE(scratch_.Read("got") == pattern_);
  EXPECT_THAT(scratch_.Names(), UnorderedElementsAre("got", "stdout", "stderr"));
  EXPECT_EQ(StateOf(call), client::CallState::kConsumed);
}

TEST_F(ResumeTest, OnlyTheRestIsSentAgain) {
  const std::string call = NewReadyCall(pattern_);
  const uint64_t before = Passed();
  KillMidway(Retrieve(call));
  proxy_.GoOn();
  const Finished again = Mayfly(Retrieve(call));
  EXPECT_EQ(again.end.exit_code, 0) << again.err;
  EXPECT_LT(Passed() - before, kAgainMax);
  EXPECT_TRUE(scratch_.Read("got") == pattern_);
}

TEST_F(ResumeTest, CtrlCKeepsWhatCameAndReleasesTheOutput) {
  const std::string call = NewReadyCall(pattern_);
  const uint64_t before = Passed();
  Program program(Plan(Retrieve(call)));
  StallAt(before + kBefore);
  program.Signal(SIGINT);
  proxy_.GoOn();
  EXPECT_EQ(program.Wait().signal, SIGINT);
  EXPECT_THAT(scratch_.Read("stderr"),
              testing::ContainsRegex("cancelled: interrupted; [0-9.]+ MiB are kept, and the same "
                                     "command resumes\n$"));
  EXPECT_TRUE(BecomesReady(call));
  const Finished again = Mayfly(Retrieve(call));
  EXPECT_EQ(again.end.exit_code, 0) << again.err;
  EXPECT_LT(Passed() - before, kAgainMax);
  EXPECT_TRUE(scratch_.Read("got") == pattern_);
}

TEST_F(ResumeTest, ANetworkThatIsCutKeepsWhatCame) {
  const std::string call = NewReadyCall(pattern_);
  const uint64_t before = Passed();
  std::vector<std::string> impatient = Retrieve(call);
  impatient.insert(impatient.end(), {"--timeout", "5s"});
  Program program(Plan(impatient));
  StallAt(before + kBefore);
  EXPECT_EQ(program.Wait().exit_code, 4);
  EXPECT_THAT(scratch_.Read("stderr"), HasSubstr(" are kept, and the same command resumes\n"));
  proxy_.GoOn();
  const Finished again = Mayfly(Retrieve(call));
  EXPECT_EQ(again.end.exit_code, 0) << again.err;
  EXPECT_LT(Passed() - before, kAgainMax);
  EXPECT_TRUE(scratch_.Read("got") == pattern_);
}

TEST_F(ResumeTest, AServerThatWasRestartedMeanwhileIsNoObstacle) {
  const std::string call = NewReadyCall(pattern_);
  KillMidway(Retrieve(call));
  server_->Kill();
  server_->Start();
  proxy_.SetServerPort(server_->port());
  proxy_.GoOn();
  const uint64_t before = Passed();
  const Finished again = Mayfly(Retrieve(call));
  EXPECT_EQ(again.end.exit_code, 0) << again.err;
  EXPECT_LT(Passed() - before, kAgainMax - kBefore);
  EXPECT_TRUE(scratch_.Read("got") == pattern_);
}

TEST_F(ResumeTest, AnotherOutputBeginsAnew) {
  const std::string call = NewReadyCall(pattern_);
  Program program(Plan(Retrieve(call)));
  StallAt(Passed() + kBefore);
  program.Signal(SIGINT);
  proxy_.GoOn();
  program.Wait();
  ASSERT_TRUE(BecomesReady(call));
  const std::string later = Pattern(13 * kMiB + 1);
  ASSERT_TRUE(worker_.PutOutput({.call_id = call, .attempt = 2, .payload = {.data = later}}).ok());
  const Finished again = Mayfly(Retrieve(call));
  EXPECT_EQ(again.end.exit_code, 0) << again.err;
  EXPECT_TRUE(scratch_.Read("got") == later);
  EXPECT_THAT(scratch_.Names(), UnorderedElementsAre("got", "stdout", "stderr"));
}

TEST_F(ResumeTest, ADamagedPartIsFetchedAgain) {
  const std::string call = NewReadyCall(pattern_);
  KillMidway(Retrieve(call));
  proxy_.GoOn();
  const std::string part = HiddenName(call, ".part");
  std::string kept = scratch_.Read(part);
  ASSERT_GT(kept.size(), kMiB);
  kept[kMiB] ^= 1;
  scratch_.Write(part, kept);
  const Finished again = Mayfly(Retrieve(call));
  EXPECT_EQ(again.end.exit_code, 0) << again.err;
  EXPECT_TRUE(scratch_.Read("got") == pattern_);
}

TEST_F(ResumeTest, WhatHasEndedMeanwhileLeavesNothing) {
  const std::string call = NewReadyCall(pattern_);
  KillMidway(Retrieve(call));
  proxy_.GoOn();
  ASSERT_TRUE(client_.DeleteCall(call).ok());
  EXPECT_EQ(Mayfly(Retrieve(call)).end.exit_code, 3);
  EXPECT_THAT(scratch_.Names(), UnorderedElementsAre("stdout", "stderr"));
}

TEST_F(ResumeTest, OneProcessAtATimeWritesAFile) {
  const std::string call = NewReadyCall(pattern_);
  Program first(Plan(Retrieve(call)));
  StallAt(Passed() + kBefore);
  ProgramPlan plan = Plan(Directly(Retrieve(call)));
  plan.err = scratch_.Path("stderr of the second");
  EXPECT_EQ(Program(std::move(plan)).Wait().exit_code, 5);
  EXPECT_EQ(scratch_.Read("stderr of the second"),
            "mayfly: call " + call + ": aborted: another mayfly process is writing this file\n");
  proxy_.GoOn();
  EXPECT_EQ(first.Wait().exit_code, 0) << scratch_.Read("stderr");
  EXPECT_TRUE(scratch_.Read("got") == pattern_);
}

TEST_F(ResumeTest, WhatOthersHavePutInTheWayIsNotWrittenTo) {
  const std::string call = NewReadyCall(pattern_);
  const std::string mine = scratch_.Write("mine", "mine");
  for (const std::string ending : {".mayfly", ".part"}) {
    KillMidway(Retrieve(call));
    proxy_.GoOn();
    std::filesystem::remove(scratch_.Path(HiddenName(call, ending)));
    std::filesystem::create_symlink("mine", scratch_.Path(HiddenName(call, ending)));
    const Finished again = Mayfly(Retrieve(call));
    EXPECT_EQ(again.end.exit_code, 5);
    EXPECT_EQ(scratch_.Read("mine"), "mine");
    for (const std::string each : {".mayfly", ".part"}) {
      std::filesystem::remove(scratch_.Path(HiddenName(call, each)));
    }
    // The token is gone with the record.
    ASSERT_TRUE(server_->Stop() == 0);
    server_->Start();
    proxy_.SetServerPort(server_->port());
  }
  EXPECT_EQ(Mayfly(Retrieve(call)).end.exit_code, 0);
}

TEST_F(ResumeTest, AnInputGoesOnToo) {
  const auto put = client_.PutInput({.payload = {.data = pattern_}});
  ASSERT_TRUE(put.ok()) << put.status();
  const std::string worker = server_->certificates() + "/worker";
  const std::vector<std::string> get = {
      "get-input", put->call_id,    "--output", scratch_.Path("got"),
      "--cert",    worker + ".pem", "--key",    worker + ".key"};
  const uint64_t before = Passed();
  KillMidway(get);
  proxy_.GoOn();
  const Finished again = Mayfly(get);
  EXPECT_EQ(again.end.exit_code, 0) << again.err;
  EXPECT_LT(Passed() - before, kAgainMax);
  EXPECT_TRUE(scratch_.Read("got") == pattern_);
  EXPECT_THAT(scratch_.Names(), UnorderedElementsAre("got", "stdout", "stderr"));
}

TEST_F(ResumeTest, AMapGoesOnWhereItWasKilled) {
  for (const bool is_known_to_server : {false, true}) {
    const std::vector<std::string> calls = {NewReadyCall("small"), NewReadyCall(pattern_)};
    const uint64_t before = Passed();
    KillMidway(RetrieveAll(calls));
    EXPECT_EQ(StateOf(calls[1]), client::CallState::kClaimed);
    if (is_known_to_server) proxy_.GoOn();
    const Finished again =
        Mayfly(is_known_to_server ? RetrieveAll(calls) : Directly(RetrieveAll(calls)));
    proxy_.GoOn();
    EXPECT_EQ(again.end.exit_code, 0) << again.err;
    EXPECT_LT(Passed() - before, kAgainMax);
    EXPECT_TRUE(scratch_.Read("outputs/" + calls[1]) == pattern_);
    EXPECT_EQ(scratch_.Read("outputs/" + calls[0]), "small");
    for (const std::string& call : calls) EXPECT_EQ(StateOf(call), client::CallState::kConsumed);
    EXPECT_THAT(Shell("ls -A outputs").out,
                AllOf(HasSubstr(calls[0]), HasSubstr(calls[1]), Not(HasSubstr(".part")),
                      Not(HasSubstr(".mayfly"))));
    Shell("rm -r outputs");
  }
}

}  // namespace
}  // namespace mayfly
