// Runs the program against a fake server with certificates.
#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/binary_fixture.h"

namespace mayfly {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class BinaryTest : public BinaryFixture {};

TEST_F(BinaryTest, ALifeCycleEndsWithTheOutputGone) {
  const std::string id = PutInput("6 * 7");
  EXPECT_EQ(id.size(), 36);
  EXPECT_EQ(Mayfly({"get-input", id}).out, "6 * 7");
  EXPECT_EQ(Mayfly({"put-output", id, "-"}, "42").exit_code, 0);
  EXPECT_THAT(Mayfly({"describe", id}).out, HasSubstr(id + " READY, input of 5 bytes until 2033-"));
  const Finished first = Mayfly({"retrieve", id});
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(first.out, "42");
  EXPECT_EQ(first.err, "");
  const Finished second = Mayfly({"retrieve", id});
  EXPECT_EQ(second.exit_code, 3);
  EXPECT_EQ(second.out, "");
  EXPECT_EQ(second.err, "mayfly: call " + id + ": not found: no such call (OUTPUT_CONSUMED)\n");
}

TEST_F(BinaryTest, SaysThatAKeyIsNotTheCertificates) {
  const Finished run = Mayfly({"--key", scratch_->Path("server.key"), "describe", PutInput("in")});
  EXPECT_EQ(run.exit_code, 5);
  EXPECT_THAT(run.err, HasSubstr("(CN=client) has another key than --key "));
}

TEST_F(BinaryTest, FilesGoInAndOut) {
  const std::string data("\0\xff binary", 9);
  const std::string id =
      Mayfly({"put-input", scratch_->Write("in", data), "--ttl", "1h", "--label", "a=b"})
          .out.substr(0, 36);
  const v1::InputItem item = server_.RequestsOf<v1::PutInputsRequest>()[0].items(0);
  EXPECT_EQ(item.payload().data(), data);
  EXPECT_EQ(item.ttl().seconds(), 3600);
  EXPECT_EQ(item.payload().labels().at("a"), "b");
  EXPECT_EQ(Mayfly({"get-input", id, "--output", scratch_->Path("out")}).out, "");
  EXPECT_EQ(scratch_->Read("out"), data);
  server_.AddOutput(id, 1, data);
  std::string at_ack;
  server_.OnAck([&] { at_ack = scratch_->Read("retrieved"); });
  EXPECT_EQ(Mayfly({"retrieve", id, "--output", scratch_->Path("retrieved")}).exit_code, 0);
  EXPECT_EQ(at_ack, data);
}

TEST_F(BinaryTest, JsonIsOneObjectPerResultAndPerError) {
  const Finished put = Mayfly({"put-input", "--json"}, "6 * 7");
  const auto stored = nlohmann::json::parse(put.out);
  EXPECT_EQ(stored["deadline"], "2033-05-18T03:33:20.000Z");
  const std::string id = stored["call_id"];
  EXPECT_EQ(nlohmann::json::parse(Mayfly({"get-input", id, "--json"}).out)["data_base64"],
            "NiAqIDc=");
  server_.AddOutput(id, 2, "42");
  EXPECT_EQ(nlohmann::json::parse(Mayfly({"describe", id, "--json"}).out)["state"], "READY");
  const auto output = nlohmann::json::parse(Mayfly({"retrieve", id, "--json"}).out);
  EXPECT_EQ(output["attempt"], 2);
  EXPECT_EQ(output["outcome"], "SUCCESS");
  EXPECT_EQ(output["data_base64"], "NDI=");
  const Finished gone = Mayfly({"--json", "delete", id, kNever});
  EXPECT_EQ(gone.exit_code, 3);
  EXPECT_EQ(gone.out, "");
  std::istringstream lines(gone.err);
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(nlohmann::json::parse(line)["error"]["reason"], "OUTPUT_CONSUMED");
  std::getline(lines, line);
  EXPECT_EQ(nlohmann::json::parse(line)["error"]["code"], "NOT_FOUND");
  EXPECT_EQ(nlohmann::json::parse(line)["error"]["call_id"], kNever);
}

TEST_F(BinaryTest, NoOutputYetIsRefused) {
  const Finished run = Mayfly({"retrieve", PutInput("x"), "--wait", "10ms"});
  EXPECT_EQ(run.exit_code, 5);
  EXPECT_THAT(run.err, HasSubstr("no output yet"));
  EXPECT_THAT(run.err, HasSubstr("(OUTPUT_PENDING)"));
}

TEST_F(BinaryTest, RefusalsExitWithFive) {
  server_.FailNext("PutInputs", {.status = RpcError(absl::StatusCode::kPermissionDenied,
                                                    Reason::kRoleRequired, "wants a client")});
  const Finished run = Mayfly({"put-input"}, "x");
  EXPECT_EQ(run.exit_code, 5);
  EXPECT_THAT(
      run.err,
      AllOf(HasSubstr("permission denied: put-input takes a certificate with the role "
                      "client, and the server says: wants a client; give the one of a client"),
            HasSubstr("(ROLE_REQUIRED)")));
}

TEST_F(BinaryTest, InfoTellsOfTheServerAndWhoOneIs) {
  const Finished run = Mayfly({"info"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("version: 1.2.3\n"));
  EXPECT_THAT(run.out, HasSubstr("tenant: acme\n"));
  EXPECT_THAT(run.out, HasSubstr("id_window: 5m\n"));
  const auto object = nlohmann::json::parse(Mayfly({"info", "--json"}).out);
  EXPECT_EQ(object["role"], "client");
  EXPECT_EQ(object["claims_max"], 10'000);
  EXPECT_THAT(run.out, HasSubstr("live_calls_max: none\n"));
  EXPECT_TRUE(object["live_calls_max"].is_null());
}

TEST_F(BinaryTest, AServerThatIsNotThereExitsWithFour) {
  const Finished run =
      Mayfly({"describe", kNobodys, "--server", "127.0.0.1:1", "--timeout", "300ms"});
  EXPECT_EQ(run.exit_code, 4);
  // On a busy machine the connection is not refused before the timeout.
  const std::string call = absl::StrCat("mayfly: call ", kNobodys, ": ");
  EXPECT_THAT(run.err, AnyOf(HasSubstr(call + "unavailable: cannot reach 127.0.0.1:1: "),
                             HasSubstr(call + "deadline exceeded: ")));
}

TEST_F(BinaryTest, AServerOfAnotherAuthorityExitsWithFive) {
  // The client's certificate is no authority that the server's could be of.
  const Finished run = Mayfly({"describe", kNobodys, "--ca", scratch_->Path("client.pem")});
  EXPECT_EQ(run.exit_code, 5) << run.err;
  EXPECT_THAT(run.err, HasSubstr("(CN=server) was issued by a CA (CN=ca) that is not in --ca "));
  EXPECT_EQ(server_.CountOf("DescribeCalls"), 0);
}

TEST_F(BinaryTest, MistakesExitWithTwo) {
  EXPECT_EQ(Mayfly({"retrieve"}).exit_code, 2);
  EXPECT_THAT(Mayfly({"retrieve", ""}).err, HasSubstr("CALL: it is empty, expected a call id"));
  EXPECT_EQ(Mayfly({"describe", "no-id"}).exit_code, 2);
  EXPECT_EQ(Mayfly({"describe", kNobodys, "--config", "/"}).exit_code, 2);
  const std::string list = scratch_->Write("no-list", "no-id");
  EXPECT_EQ(Mayfly({"describe", "--all", list}).exit_code, 2);
  EXPECT_TRUE(server_.Events().empty());
}

TEST_F(BinaryTest, FilesThatCannotBeReadOrWrittenExitWithFive) {
  EXPECT_EQ(Mayfly({"put-input", "/nonexistent"}).exit_code, 5);
  EXPECT_EQ(Mayfly({"put-input", "/"}).exit_code, 5);
  EXPECT_EQ(Mayfly({"put-output", kNobodys, "/nonexistent"}).exit_code, 5);
  EXPECT_EQ(Mayfly({"describe", "--all", "/nonexistent"}).exit_code, 5);
  EXPECT_EQ(Mayfly({"retrieve", "--all", "/nonexistent", "--dir", scratch_->Path("d")}).exit_code,
            5);
  const std::string list = scratch_->Write("one-call", kNobodys);
  const Finished no_parent = Mayfly({"retrieve", "--all", list, "--dir", "/nonexistent/d"});
  EXPECT_EQ(no_parent.exit_code, 5);
  EXPECT_EQ(no_parent.err,
            "mayfly: --dir /nonexistent/d cannot be created: No such file or directory\n");
  const Finished nowhere = Mayfly({"retrieve", kNobodys, "--output", "/nonexistent/out"});
  EXPECT_EQ(nowhere.exit_code, 5);
  EXPECT_EQ(nowhere.err,
            "mayfly: --output /nonexistent/out is in a directory that does not exist\n");
  for (const char* const option : {"--ca", "--cert", "--key"}) {
    const Finished run = Mayfly({"describe", kNobodys, option, "/nonexistent"});
    EXPECT_EQ(run.exit_code, 5);
    EXPECT_EQ(run.err, absl::StrCat("mayfly: ", option,
                                    " is /nonexistent, not readable: No such file or directory\n"));
    EXPECT_EQ(Mayfly({"describe", kNobodys, option, "/"}).exit_code, 5);
  }
  EXPECT_TRUE(server_.Events().empty());
}

TEST_F(BinaryTest, AStdoutThatTakesNothingReleasesTheClaim) {
  const std::string id = PutInput("x");
  server_.AddOutput(id, 1, "42");
  const Finished run = Mayfly({"retrieve", id}, "", "/dev/full");
  EXPECT_EQ(run.exit_code, 5);
  EXPECT_THAT(run.err, HasSubstr("stdout cannot be written to"));
  EXPECT_EQ(server_.CountOf("Ack"), 0);
  EXPECT_EQ(server_.CountOf("Release"), 1);
}

TEST_F(BinaryTest, AnOutcomeThatIsNoSuccessIsSaidBesideTheOutput) {
  const std::string id = PutInput("x");
  EXPECT_EQ(Mayfly({"put-output", id, "--attempt", "3", "--outcome", "failure"}, "boom").exit_code,
            0);
  const Finished run = Mayfly({"retrieve", id});
  EXPECT_EQ(run.exit_code, 6);
  EXPECT_EQ(run.out, "boom");
  EXPECT_EQ(run.err, "mayfly: call " + id + ": the outcome of attempt 3 is FAILURE\n");
}

TEST_F(BinaryTest, ManyCallsAreAllAnsweredAndTheFirstErrorDecides) {
  const std::string id = PutInput("x");
  const Finished run = Mayfly({"delete", kNever, id});
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_THAT(run.err, HasSubstr(absl::StrCat("call ", kNever, ": not found")));
  EXPECT_THAT(Mayfly({"describe", id, kNever}).out,
              testing::AllOf(HasSubstr(" DELETED"), HasSubstr(absl::StrCat(kNever, " UNKNOWN\n"))));
}

TEST_F(BinaryTest, AnOutcomeThatIsNoSuccessHasAnExitCodeWithJsonToo) {
  const std::string id = PutInput("x");
  EXPECT_EQ(Mayfly({"put-output", id, "--outcome", "timeout"}, "late").exit_code, 0);
  const Finished run = Mayfly({"retrieve", id, "--json"});
  EXPECT_EQ(run.exit_code, 6);
  EXPECT_EQ(nlohmann::json::parse(run.out)["outcome"], "TIMEOUT");
  EXPECT_EQ(run.err, "");
}

// Nobody could answer: the port is checked, and a missing one is Mayfly's.
TEST_F(BinaryTest, AnAddressThatCannotBeIsRefused) {
  const Finished run = Mayfly({"describe", kNobodys, "--server", "127.0.0.1:99999"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_EQ(run.err, "mayfly: --server is 127.0.0.1:99999, range of the port is 1 to 65535\n");
  for (const char* const address : {"b:1:2", "[b]:7443", "https://127.0.0.1:7443", "[::1"}) {
    const Finished other = Mayfly({"describe", kNobodys, "--server", address});
    EXPECT_EQ(other.exit_code, 2) << address;
    EXPECT_THAT(other.err, HasSubstr(absl::StrCat("mayfly: --server is ", address, ", expected ")));
  }
}

TEST_F(BinaryTest, AWaitForAServerThatIsNotThereIsSaidAtOnceAndEndsWithTheTimeout) {
  const Finished run = Mayfly({"retrieve", kNobodys, "--server", "127.0.0.1:1", "--timeout", "2s"});
  EXPECT_EQ(run.exit_code, 4);
  EXPECT_EQ(
      run.err.rfind("mayfly: cannot reach 127.0.0.1:1: Connection refused; trying again\n", 0), 0)
      << run.err;
}

TEST_F(BinaryTest, ErrorsOfTheServerNameTheArgument) {
  server_.FailNext("PutInputs",
                   {.status = RpcError(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid,
                                       "items[0].ttl is 25h, range is 1s to 24h")});
  EXPECT_THAT(Mayfly({"put-input", "--ttl", "25h"}, "x").err,
              HasSubstr("invalid argument: --ttl is 25h, range is 1s to 24h (FIELD_INVALID)"));
}

TEST_F(BinaryTest, ManyFilesArePutTogetherAndTheirListGoesEverywhere) {
  std::filesystem::create_directory(scratch_->Path("inputs"));
  for (const char* name : {"b", "a", ".hidden"}) {
    scratch_->Write(absl::StrCat("inputs/", name), absl::StrCat("input ", name));
  }
  const std::string large = scratch_->Write("large", std::string(3 << 20, 'x'));
  const Finished put = Mayfly({"put-input", "--all", scratch_->Path("inputs"), large});
  EXPECT_EQ(put.exit_code, 0) << put.err;
  const std::vector<std::string> lines = absl::StrSplit(put.out, '\n');
  ASSERT_EQ(lines.size(), 4) << put.out;
  EXPECT_THAT(lines[0], testing::EndsWith("\t" + scratch_->Path("inputs/a")));
  EXPECT_THAT(lines[1], testing::EndsWith("\t" + scratch_->Path("inputs/b")));
  EXPECT_THAT(lines[2], testing::EndsWith("\t" + large));
  EXPECT_EQ(server_.InputOf(lines[1].substr(0, 36)), "input b");
  EXPECT_EQ(server_.CountOf("PutInputs"), 1);

  const std::string list = scratch_->Write("list", put.out);
  const Finished described = Mayfly({"describe", "--all", list});
  EXPECT_EQ(std::count(described.out.begin(), described.out.end(), '\n'), 3) << described.err;
  EXPECT_EQ(Mayfly({"delete", "--all", list}).exit_code, 0);
  EXPECT_THAT(Mayfly({"describe", lines[0].substr(0, 36)}).out, HasSubstr(" DELETED"));
}

TEST_F(BinaryTest, AFileThatCannotBeReadDoesNotStopTheOthers) {
  const std::string good = scratch_->Write("good", "x");
  const std::string directory = scratch_->Path("listed");
  std::filesystem::create_directory(directory);
  std::filesystem::create_symlink("/proc/self/mem", directory + "/bad");
  const Finished run = Mayfly({"put-input", "--all", directory, good});
  EXPECT_EQ(run.exit_code, 5) << run.err;
  EXPECT_THAT(run.err, HasSubstr(directory + "/bad: "));
  EXPECT_THAT(run.out, HasSubstr("\t" + good));
  EXPECT_EQ(Mayfly({"put-input", "--all", "/nonexistent"}).exit_code, 5);
}

}  // namespace
}  // namespace mayfly
