// retrieve --all with a real server.
#include <filesystem>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/real_server_fixture.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAreArray;

class MapTest : public RealServerFixture {
 protected:
  // One put for all.
  std::vector<std::string> NewCalls(size_t count) const {
    std::vector<std::string> call_ids;
    for (const auto& put : client_.PutInputs(std::vector<client::Input>(count))) {
      EXPECT_TRUE(put.ok()) << put.status();
      call_ids.push_back(put->call_id);
    }
    return call_ids;
  }
  void PutOutputs(const std::vector<std::string>& call_ids) const {
    std::vector<client::Output> outputs;
    for (const std::string& call_id : call_ids) {
      outputs.push_back({.call_id = call_id, .payload = {.data = OutputOf(call_id)}});
    }
    for (const auto& put : worker_.PutOutputs(std::move(outputs))) {
      EXPECT_TRUE(put.ok()) << put.status();
    }
  }
  static std::string OutputOf(const std::string& call_id) { return "output of " + call_id; }

  ProgramPlan RetrievePlan(const std::vector<std::string>& call_ids,
                           const std::string& wait = "30s") const {
    scratch_.Write("calls", absl::StrJoin(call_ids, "\n"));
    return Plan({"retrieve", "--all", scratch_.Path("calls"), "--dir", scratch_.Path("outputs"),
                 "--wait", wait});
  }
  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(scratch_.Path("outputs"))) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }
  void ExpectRetrieved(const std::vector<std::string>& call_ids) const {
    EXPECT_THAT(Files(), UnorderedElementsAreArray(call_ids));
    for (const std::string& call_id : call_ids) {
      EXPECT_EQ(scratch_.Read("outputs/" + call_id), OutputOf(call_id));
    }
    for (const auto& call : client_.DescribeCalls(call_ids)) {
      EXPECT_EQ(call->state, client::CallState::kConsumed);
    }
  }
};

TEST_F(MapTest, OutputsBecomeFilesAsTheyArriveAndAreAcknowledged) {
  const std::vector<std::string> call_ids = NewCalls(1000);
  const std::vector<std::string> early(call_ids.begin(), call_ids.begin() + 700);
  const std::vector<std::string> late(call_ids.begin() + 700, call_ids.end());
  PutOutputs(early);
  Program program(RetrievePlan(call_ids));
  while (StateOf(early[0]) != client::CallState::kConsumed) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  PutOutputs(late);
  EXPECT_EQ(program.Wait().exit_code, 0) << scratch_.Read("stderr");
  EXPECT_EQ(scratch_.Read("stderr"), "");
  ExpectRetrieved(call_ids);
}

TEST_F(MapTest, CutConnectionsLoseNothing) {
  const std::vector<std::string> call_ids = NewCalls(500);
  PutOutputs(call_ids);
  Program program(RetrievePlan(call_ids));
  for (int i = 0; i < 3; ++i) {
    proxy_.CutAfter(TcpProxy::kToClient, 20'000, TcpProxy::Ending::kReset);
    EXPECT_TRUE(proxy_.WaitForCut());
  }
  EXPECT_EQ(program.Wait().exit_code, 0) << scratch_.Read("stderr");
  ExpectRetrieved(call_ids);
}

TEST_F(MapTest, LargeOutputsDoNotGrowTheProgram) {
  const std::vector<std::string> call_ids = NewCalls(3);
  ASSERT_EQ(Shell("head -c 50000000 /dev/urandom > pattern").end.exit_code, 0);
  for (const std::string& call_id : call_ids) {
    ASSERT_EQ(Shell("as_worker put-output " + call_id + " pattern").end.exit_code, 0);
  }
  const ProgramEnd end = Program(RetrievePlan(call_ids)).Wait();
  EXPECT_EQ(end.exit_code, 0) << scratch_.Read("stderr");
  EXPECT_LT(end.resident_bytes_max, 112 * kMiB);
  EXPECT_EQ(Shell("for file in outputs/*; do cmp $file pattern; done").end.exit_code, 0);
}

TEST_F(MapTest, WhatHasEndedIsReportedAndTheOthersGoOn) {
  const std::vector<std::string> call_ids = NewCalls(10);
  PutOutputs(call_ids);
  EXPECT_TRUE(client_.DeleteCall(call_ids[3]).ok());
  const std::string never = client::MintCallId();
  std::vector<std::string> listed = call_ids;
  listed.push_back(never);
  const Finished run = Run(RetrievePlan(listed));
  EXPECT_EQ(run.end.exit_code, 3);
  EXPECT_THAT(run.err, HasSubstr("mayfly: call " + call_ids[3] + ": not found: "));
  EXPECT_THAT(run.err, HasSubstr("(CALL_DELETED)\n"));
  EXPECT_THAT(run.err, HasSubstr("mayfly: call " + never + ": not found: "));
  EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 2) << run.err;
  std::vector<std::string> alive = call_ids;
  alive.erase(alive.begin() + 3);
  ExpectRetrieved(alive);
}

TEST_F(MapTest, WhatIsPendingIsToldAndTheNextRunGoesOn) {
  const std::vector<std::string> call_ids = NewCalls(3);
  PutOutputs({call_ids[0]});
  ProgramPlan plan = RetrievePlan(call_ids, "1s");
  plan.words.insert(plan.words.end(), {"--missing", scratch_.Path("missing")});
  const Finished first = Run(std::move(plan));
  EXPECT_EQ(first.end.exit_code, 5);
  EXPECT_EQ(first.err,
            absl::StrCat("mayfly: failed precondition: 2 of 3 calls have no output yet, and none "
                         "arrived for 1s: ",
                         call_ids[1], ", ", call_ids[2], "; see ", scratch_.Path("missing"),
                         " (OUTPUT_PENDING)\n"));
  EXPECT_EQ(scratch_.Read("missing"), call_ids[1] + "\n" + call_ids[2] + "\n");
  // An existing file is kept, whatever its content, and its call is skipped.
  scratch_.Write("outputs/" + call_ids[0], "mine");
  PutOutputs({call_ids[1], call_ids[2]});
  const Finished second = Run(RetrievePlan(call_ids));
  EXPECT_EQ(second.end.exit_code, 0) << second.err;
  EXPECT_EQ(second.err, "");
  EXPECT_EQ(scratch_.Read("outputs/" + call_ids[0]), "mine");
  EXPECT_EQ(scratch_.Read("outputs/" + call_ids[2]), OutputOf(call_ids[2]));
  // Nothing is left to ask for: the server is not needed.
  ProgramPlan third = RetrievePlan(call_ids);
  third.words.insert(third.words.end(), {"--server", "127.0.0.1:1"});
  EXPECT_EQ(Run(std::move(third)).end.exit_code, 0);
}

TEST_F(MapTest, AFileThatCannotBeWrittenEndsAllAndReleases) {
  const std::vector<std::string> call_ids = NewCalls(5);
  for (const std::string& call_id : call_ids) PutOutput(call_id, Pattern(3 * kMiB));
  scratch_.Write("calls", absl::StrJoin(call_ids, "\n"));
  const Finished run = Shell("ulimit -f 2048; mayfly retrieve --all calls --dir outputs");
  EXPECT_EQ(run.end.exit_code, 5);
  EXPECT_THAT(run.err, HasSubstr("the output file cannot be written: "));
  EXPECT_THAT(run.err, HasSubstr("File too large"));
  EXPECT_THAT(Files(), testing::IsEmpty());
  for (const std::string& call_id : call_ids) EXPECT_TRUE(BecomesReady(call_id));
}

TEST_F(MapTest, IdsComeThroughAPipeAndResultsAreJson) {
  const std::vector<std::string> call_ids = NewCalls(2);
  PutOutputs(call_ids);
  const Finished run = Shell("printf '" + call_ids[0] + "\\n\\n# two\\n" + call_ids[1] +
                             "\\n' | mayfly retrieve --all - --dir outputs --json");
  EXPECT_EQ(run.end.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("\"call_id\":\"" + call_ids[1] + "\""));
  EXPECT_THAT(run.out, HasSubstr("\"outcome\":\"SUCCESS\""));
  EXPECT_EQ(std::count(run.out.begin(), run.out.end(), '\n'), 2) << run.out;
  ExpectRetrieved(call_ids);
}

TEST_F(MapTest, MistakesAreFoundBeforeAnythingIsClaimed) {
  const std::vector<std::string> call_ids = NewCalls(1);
  PutOutputs(call_ids);
  scratch_.Write("calls", call_ids[0] + "\nno-id\n");
  const Finished bad_line = Shell("mayfly retrieve --all calls --dir outputs");
  EXPECT_EQ(bad_line.end.exit_code, 2);
  EXPECT_EQ(bad_line.err, "mayfly: --all calls: line 2 is no call id: no-id\n");
  scratch_.Write("calls", call_ids[0]);
  const std::string long_name(300, 'm');
  const Finished no_missing =
      Shell("mayfly retrieve --all calls --dir outputs --missing " + long_name);
  EXPECT_EQ(no_missing.end.exit_code, 5);
  EXPECT_THAT(no_missing.err, HasSubstr("mayfly: --missing mmm"));
  const Finished no_directory = Shell("mayfly retrieve --all calls --dir calls");
  EXPECT_EQ(no_directory.end.exit_code, 5);
  EXPECT_EQ(no_directory.err, "mayfly: --dir calls is not a directory\n");
  const Finished taken =
      Shell("mkdir -p outputs/" + call_ids[0] + "; mayfly retrieve --all calls --dir outputs");
  EXPECT_EQ(taken.end.exit_code, 5);
  EXPECT_THAT(taken.err, HasSubstr(call_ids[0] + ", which is not a regular file"));
  EXPECT_EQ(StateOf(call_ids[0]), client::CallState::kReady);
}

TEST_F(MapTest, WhoMayNotRetrieveIsToldOnceAndAServerThatIsNotThereIsSaid) {
  const std::vector<std::string> call_ids = NewCalls(3);
  PutOutputs(call_ids);
  scratch_.Write("calls", absl::StrJoin(call_ids, "\n"));
  const Finished worker = Shell("as_worker retrieve --all calls --dir outputs");
  EXPECT_EQ(worker.end.exit_code, 5);
  EXPECT_THAT(worker.err, HasSubstr("permission denied"));
  EXPECT_EQ(std::count(worker.err.begin(), worker.err.end(), '\n'), 1) << worker.err;
  ProgramPlan nowhere = RetrievePlan(call_ids);
  nowhere.words.insert(nowhere.words.end(), {"--server", "127.0.0.1:1", "--timeout", "300ms"});
  const Finished unreachable = Run(std::move(nowhere));
  EXPECT_EQ(unreachable.end.exit_code, 4);
  EXPECT_THAT(unreachable.err, HasSubstr("mayfly: unavailable: "));
}

}  // namespace
}  // namespace mayfly
