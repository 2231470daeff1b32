// The process: command line, start and refusal to start, health, drain, what it writes.

#include <fstream>
#include <signal.h>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "e2e/test_client.h"
#include "support/test_server.h"

namespace mayfly {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

ProgramResult RunMayflyd(const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {MAYFLYD_PATH};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return RunProgram(all);
}

// One RPC of a service whose stubs we do not generate, bytes in and out.
std::string CallGeneric(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                        const std::string& request, std::string* response) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  const grpc::Slice slice(request);
  const grpc::ByteBuffer sent(&slice, 1);
  grpc::ByteBuffer received;
  grpc::CompletionQueue queue;
  grpc::Status status;
  void* tag = nullptr;
  bool ok = false;
  const auto call = stub.PrepareUnaryCall(&context, method, sent, &queue);
  call->StartCall();
  call->Finish(&received, &status, nullptr);
  queue.Next(&tag, &ok);
  grpc::Slice whole;
  if (status.ok() && received.DumpToSingleSlice(&whole).ok()) {
    response->assign(reinterpret_cast<const char*>(whole.begin()), whole.size());
  }
  return Summary(status);
}

// grpc.health.v1: 1 is SERVING, 2 is NOT_SERVING; HealthCheckRequest {string service = 1}.
int Health(const TestServer& server, const std::string& service) {
  std::string request;
  if (!service.empty()) {
    request = absl::StrCat("\x0a", std::string(1, static_cast<char>(service.size())), service);
  }
  std::string response;
  const std::string status =
      CallGeneric(server.Channel("monitor"), "/grpc.health.v1.Health/Check", request, &response);
  EXPECT_EQ(status, "OK");
  return response.size() == 2 ? response[1] : 0;
}

TEST(CommandLine, WrongUseExitsWithTwo) {
  EXPECT_EQ(RunMayflyd({}).exit_code, 2);
  EXPECT_EQ(RunMayflyd({"--no-such-option"}).exit_code, 2);
  EXPECT_EQ(RunMayflyd({"--config"}).exit_code, 2);
  EXPECT_EQ(RunMayflyd({"--config", "x", "--check-config", "--rotate-root-key", "y"}).exit_code, 2);
  EXPECT_EQ(RunMayflyd({"--config", "/nonexistent", "--check-config"}).exit_code, 2);
}

TEST(CommandLine, TellsItsVersion) {
  const ProgramResult result = RunMayflyd({"--version"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, MatchesRegex("mayflyd [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST(CommandLine, CheckConfigReportsAllMistakesAtOnce) {
  TestServer server;
  ProgramResult result = RunMayflyd({"--config", server.config_path(), "--check-config"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, EndsWith("the configuration is valid\n"));

  std::ofstream(server.config_path(), std::ios::app)
      << "[retention]\nmax_ttl = \"25h\"\n[claims]\nno_such_setting = 1\n";
  result = RunMayflyd({"--config", server.config_path(), "--check-config"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, AllOf(HasSubstr("retention.max_ttl is \"25h\""),
                                   HasSubstr("claims.no_such_setting")));
  EXPECT_EQ(RunMayflyd({"--config", server.config_path()}).exit_code, 2);
}

TEST(Refusal, IsOneSentenceOnStandardErrorAndInTheLog) {
  const auto refuse = [](const std::string& file, const std::string& content) {
    TestServer server;
    WriteWholeFile(server.directory() / file, content);
    const ProgramResult result = RunMayflyd({"--config", server.config_path()});
    EXPECT_EQ(result.exit_code, 1) << result.output;
    EXPECT_THAT(server.Log(), HasSubstr("refused to start"));
    return result.output;
  };
  EXPECT_THAT(refuse("certificates/server.pem", "nonsense"), HasSubstr("tls.certificate_file"));
  EXPECT_THAT(refuse("certificates/ca.pem", ""), HasSubstr("tls.ca_file"));
  EXPECT_THAT(refuse("certificates/server.key", "nonsense"), HasSubstr("tls.key_file"));
  EXPECT_THAT(refuse("root.key", "nonsense"), HasSubstr("root.key holds something else"));
  EXPECT_THAT(refuse("root.key", "nonsense"), Not(HasSubstr("nonsense")));
}

TEST(Refusal, TwoServersDoNotShareAPort) {
  TestServer first;
  first.Start();
  TestServer second;
  std::string config = ReadWholeFile(second.config_path());
  const size_t place = config.find("127.0.0.1:0");
  config.replace(place, 11, absl::StrCat("127.0.0.1:", first.port()));
  WriteWholeFile(second.config_path(), config);
  const ProgramResult result = RunMayflyd({"--config", second.config_path()});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output, HasSubstr("server.listen"));
}

TEST(Refusal, TwoServersDoNotShareADataDirectory) {
  TestServer server;
  server.Start();
  const ProgramResult result = RunMayflyd({"--config", server.config_path()});
  EXPECT_EQ(result.exit_code, 1) << result.output;
  TestClient client(server.Channel("client"));
  EXPECT_EQ(client.PutInput(NewCallId(), "question"), "OK");
}

TEST(Health, IsServingWhileItServes) {
  TestServer server;
  server.Start();
  EXPECT_EQ(Health(server, ""), 1);
  EXPECT_EQ(Health(server, "mayfly.v1.FunctionIo"), 1);
}

TEST(Drain, AnswersALongPollAndKeepsTheData) {
  TestServer server;
  server.Start();
  const std::string ready = NewCallId();
  const std::string pending = NewCallId();
  {
    TestClient client(server.Channel("client"));
    TestClient worker(server.Channel("worker"));
    ASSERT_EQ(client.PutInput(ready, "question"), "OK");
    ASSERT_EQ(client.PutInput(pending, "question"), "OK");
    ASSERT_EQ(worker.PutOutput(ready, "answer"), "OK");

    v1::ClaimOutputsRequest request;
    request.add_call_ids(pending);
    request.set_claim_token(NewClaimToken());
    request.mutable_wait()->set_seconds(50);
    grpc::ClientContext context;
    v1::ClaimOutputsResponse response;
    grpc::CompletionQueue queue;
    grpc::Status status;
    const auto reader = client.stub()->AsyncClaimOutputs(&context, request, &queue);
    reader->Finish(&response, &status, nullptr);
    // Answered after the poll on the same connection, so the poll has arrived.
    ASSERT_EQ(client.Describe(pending).state(), v1::CALL_STATE_PENDING);

    const absl::Time begun = absl::Now();
    server.Signal(SIGTERM);
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    EXPECT_THAT(Summary(status), ::testing::AnyOf("OK", "UNAVAILABLE DRAINING"));
    EXPECT_EQ(response.outputs_size(), 0);
    EXPECT_EQ(server.Wait(), 0) << server.Log();
    EXPECT_LT(absl::Now() - begun, absl::Seconds(40)) << "as long as the poll";
  }
  server.Start();
  TestClient client(server.Channel("client"));
  v1::ClaimedOutput output;
  std::string ended;
  ASSERT_EQ(client.Claim(ready, NewClaimToken(), &output, &ended), "OK");
  EXPECT_EQ(output.payload().data(), "answer");
  EXPECT_EQ(client.Describe(pending).state(), v1::CALL_STATE_PENDING);
}

TEST(Drain, LetsAcksThroughAndNothingNew) {
  TestServer server;
  server.Start();
  TestClient client(server.Channel("client"));
  TestClient worker(server.Channel("worker"));
  const std::string call_id = NewCallId();
  const std::string token = NewClaimToken();
  ASSERT_EQ(client.PutInput(call_id, "question"), "OK");
  ASSERT_EQ(worker.PutOutput(call_id, "answer"), "OK");
  v1::ClaimedOutput output;
  std::string ended;
  ASSERT_EQ(client.Claim(call_id, token, &output, &ended), "OK");
  server.Signal(SIGINT);
  while (!absl::StrContains(server.Log(), "\"draining\"")) absl::SleepFor(absl::Milliseconds(1));
  while (Health(server, "") != 2) {
  }
  std::string refused;
  while ((refused = client.PutInput(NewCallId(), "question")) == "OK") {
  }
  EXPECT_EQ(refused, "UNAVAILABLE DRAINING");
  EXPECT_EQ(client.Ack(call_id, token, output.fence()), "OK");
  EXPECT_EQ(server.Wait(), 0);
}

TEST(Drain, DataSurvivesAKill) {
  TestServer server;
  server.Start();
  const std::string call_id = NewCallId();
  {
    TestClient client(server.Channel("client"));
    ASSERT_EQ(client.PutInput(call_id, "question"), "OK");
  }
  server.Kill();
  server.Start();
  TestClient worker(server.Channel("worker"));
  std::string input;
  EXPECT_EQ(worker.GetInput(call_id, &input), "OK");
  EXPECT_EQ(input, "question");
}

TEST(Reflection, IsThereOnlyWhenConfigured) {
  // Without a request it lists nothing and ends well, so only the status counts.
  const auto reflect = [](const std::string& settings) {
    TestServer server(settings);
    server.Start();
    std::string response;
    return CallGeneric(server.Channel("monitor"),
                       "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                       std::string("\x3a\x00", 2), &response);
  };
  EXPECT_EQ(reflect(""), "UNIMPLEMENTED");
  EXPECT_EQ(reflect("[server]\nreflection = true\n"), "OK");
}

// Pings every 2 s, which a busy machine may bring closer together; the poll lasts long enough for more
// strikes than gRPC forgives.
TEST(Keepalive, PingsAreAcceptedAsOftenAsConfiguredAndNotMoreOften) {
  const auto poll = [](const std::string& interval, std::string* answer) {
    TestServer server("[server]\nkeepalive_ping_min_interval = \"" + interval + "\"\n");
    server.Start();
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 2000);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    TestClient client(server.Channel("client", arguments));
    const std::string call_id = NewCallId();
    EXPECT_EQ(client.PutInput(call_id, "question"), "OK");
    v1::ClaimedOutput output;
    std::string ended;
    *answer = client.Claim(call_id, NewClaimToken(), &output, &ended, /*wait_s=*/12);
  };
  std::string every_second;
  std::string every_hour;
  std::thread other([&] { poll("1h", &every_hour); });
  poll("1s", &every_second);
  other.join();
  EXPECT_EQ(every_second, "OK");
  EXPECT_EQ(every_hour, "UNAVAILABLE");
}

TEST(RateLimit, RefusesWithADelayAndRecovers) {
  TestServer server("[limits]\noperations_per_second_max = 20\n");
  server.Start();
  TestClient client(server.Channel("client"));
  v1::DescribeCallsRequest request;
  for (int i = 0; i < 20; ++i) request.add_call_ids(NewCallId());
  v1::DescribeCallsResponse response;
  const auto describe = [&] {
    return Summary(client.Call(&v1::FunctionIo::Stub::DescribeCalls, request, &response));
  };
  // Several at once, since a slow answer lets the allowance grow again.
  const absl::Time end = absl::Now() + absl::Seconds(60);
  std::string refused;
  while ((refused = describe()) == "OK" && absl::Now() < end) {
  }
  EXPECT_EQ(refused, "RESOURCE_EXHAUSTED QUOTA_RATE");
  while (describe() != "OK" && absl::Now() < end) absl::SleepFor(absl::Milliseconds(100));
  EXPECT_LT(absl::Now(), end);
  // Another tenant has its own.
  TestClient other(server.Channel("other-client"));
  EXPECT_EQ(other.PutInput(NewCallId(), "question"), "OK");
}

TEST(Log, IsJsonAndHoldsNoPayloadTokenOrWholeId) {
  TestServer server("[log]\nlevel = \"trace\"\n");
  server.Start();
  const std::string marker = "vErYsEcReTmArKeR";
  const std::string token = "tOkEnMaRkEr01234";
  const std::string call_id = NewCallId();
  TestClient client(server.Channel("client"));
  TestClient worker(server.Channel("worker"));
  ASSERT_EQ(client.PutInput(call_id, marker), "OK");
  ASSERT_EQ(client.PutInput(call_id, marker + "2"), "ALREADY_EXISTS CALL_CONFLICT");
  ASSERT_EQ(worker.PutOutput(call_id, marker), "OK");
  ASSERT_EQ(worker.PutOutput(marker, marker), "INVALID_ARGUMENT FIELD_INVALID");
  v1::PutInputsRequest request;
  v1::InputItem* item = request.add_items();
  item->set_call_id(NewCallId());
  item->mutable_payload()->set_data(marker);
  item->mutable_payload()->set_content_type(marker);
  item->mutable_payload()->set_encryption_key_id(marker);
  (*item->mutable_payload()->mutable_labels())[marker] = marker;
  v1::PutInputsResponse response;
  ASSERT_EQ(Summary(client.Call(&v1::FunctionIo::Stub::PutInputs, request, &response)), "OK");
  item->mutable_payload()->set_crc32c(0);
  ASSERT_EQ(Summary(client.Call(&v1::FunctionIo::Stub::PutInputs, request, &response)), "OK");
  EXPECT_THAT(response.results(0).status().message(), Not(HasSubstr(marker)));
  v1::ClaimedOutput output;
  std::string ended;
  ASSERT_EQ(client.Claim(call_id, token, &output, &ended), "OK");
  ASSERT_EQ(client.Ack(call_id, "tOkEnMaRkEr98765", output.fence()),
            "FAILED_PRECONDITION CLAIM_LOST");
  ASSERT_EQ(client.Ack(call_id, token, output.fence()), "OK");
  ASSERT_EQ(server.Stop(), 0);

  const std::string log = server.Log();
  EXPECT_THAT(log, HasSubstr("\"rpc\":\"AckOutputs\""));
  EXPECT_THAT(log, Not(HasSubstr(marker)));
  EXPECT_THAT(log, Not(HasSubstr("tOkEnMaRkEr")));
  EXPECT_THAT(log, Not(HasSubstr(call_id)));
  for (const absl::string_view line : absl::StrSplit(log, '\n', absl::SkipEmpty())) {
    EXPECT_TRUE(nlohmann::json::accept(std::string(line))) << line;
  }
  // Nor does anything else that it wrote show them, not even to grep through the whole directory.
  for (const std::string& secret : {marker, std::string("tOkEnMaRkEr")}) {
    EXPECT_EQ(RunProgram({"grep", "-rqa", secret, server.directory().path()}).exit_code, 1);
  }
}

TEST(Rotation, TheNewRootKeyOpensWhatTheOldOneSealed) {
  TestServer server;
  server.Start();
  const std::string call_id = NewCallId();
  {
    TestClient client(server.Channel("client"));
    ASSERT_EQ(client.PutInput(call_id, "question"), "OK");
  }
  ASSERT_EQ(server.Stop(), 0);
  const std::string new_key = server.directory() / "new.key";
  ASSERT_EQ(RunProgram({"sh", "-c", absl::StrCat("umask 077; openssl rand -hex 32 > ", new_key)})
                .exit_code,
            0);
  for (int i = 0; i < 2; ++i) {  // the second finds it done
    const ProgramResult result =
        RunMayflyd({"--config", server.config_path(), "--rotate-root-key", new_key});
    EXPECT_EQ(result.exit_code, 0) << result.output << server.Log();
  }
  EXPECT_EQ(RunMayflyd({"--config", server.config_path()}).exit_code, 1);  // the old key
  ASSERT_EQ(rename(new_key.c_str(), (server.directory() / "root.key").c_str()), 0);
  server.Start();
  TestClient worker(server.Channel("worker"));
  std::string input;
  EXPECT_EQ(worker.GetInput(call_id, &input), "OK");
  EXPECT_EQ(input, "question");
}

}  // namespace
}  // namespace mayfly
