// Clients that share only the published proto with Mayfly's own, which shows that it is sufficient.

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/test_server.h"

namespace mayfly {
namespace {

using nlohmann::json;

constexpr char kClaimToken[] = "0123456789abcdef";

class Strangers : public ::testing::Test {
 protected:
  void SetUp() override { server_.Start(); }
  void TearDown() override { EXPECT_EQ(server_.Stop(), 0) << server_.Log(); }

  // Runs a program of this directory; it has to end well, and to say so.
  void RunNode(const std::string& program, const std::string& last_words) {
    const ProgramResult result = RunProgram({"node", absl::StrCat(NODE_PACKAGES_DIR "/", program),
                                             MAYFLY_PROTO_DIR, target(), server_.certificates()});
    EXPECT_EQ(result.exit_code, 0) << server_.Log();
    EXPECT_EQ(result.output, last_words + "\n");
  }

  std::string target() const { return absl::StrCat("localhost:", server_.port()); }

  TestServer server_;
};

TEST_F(Strangers, NodeRunsALife) { RunNode("life.mjs", "one life, by node"); }

TEST_F(Strangers, NodeStreamsLargePayloads) { RunNode("large.mjs", "a large life, by node"); }

TEST_F(Strangers, NodeSendsMuchMetadataBesideOtherCalls) {
  RunNode("headers.mjs", "neighbours, by node");
}

class BufCurl : public Strangers {
 protected:
  // The answer to one unary RPC; its fields are those of the proto's JSON mapping.
  json Call(const std::string& role, const std::string& rpc, const json& request) {
    const std::string stem = absl::StrCat(server_.certificates(), "/", role);
    const ProgramResult result =
        RunProgram({"env", absl::StrCat("BUF_CACHE_DIR=", server_.directory() / "buf"),
                    NODE_PACKAGES_DIR "/node_modules/.bin/buf", "curl", "--protocol", "grpc",
                    "--schema", MAYFLY_PROTO_DIR, "--cacert", server_.certificates() + "/ca.pem",
                    "--cert", stem + ".pem", "--key", stem + ".key", "--data", request.dump(),
                    absl::StrCat("https://", target(), "/mayfly.v1.FunctionIo/", rpc)});
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return json::parse(result.output, nullptr, /*allow_exceptions=*/false);
  }
};

std::string Base64(const std::string& text) { return absl::Base64Escape(text); }

// "OK", or the reason; what is absent from JSON is zero.
std::string Summary(const json& status) {
  if (status.value("code", 0) == 0) return "OK";
  return status.at("details").at(0).at("reason");
}

TEST_F(BufCurl, RunsALife) {
  const json put =
      Call("client", "PutInputs",
           {{"items", {{{"payload", {{"data", Base64("question")}}}, {"ttl", "600s"}}}}});
  const json result = put.at("results").at(0);
  EXPECT_EQ(Summary(result.at("status")), "OK");
  const std::string call_id = result.at("callId");

  const json got = Call("worker", "GetInputs", {{"callIds", {call_id}}}).at("results").at(0);
  EXPECT_EQ(got.at("payload").at("data"), Base64("question"));

  const json item = {{"callId", call_id}, {"payload", {{"data", Base64("answer")}}}};
  const json answered = Call("worker", "PutOutputs", {{"items", {item}}}).at("results").at(0);
  EXPECT_EQ(Summary(answered.at("status")), "OK");

  const json claim = {{"callIds", {call_id}}, {"claimToken", Base64(kClaimToken)}};
  const json output = Call("client", "ClaimOutputs", claim).at("outputs").at(0);
  EXPECT_EQ(output.at("payload").at("data"), Base64("answer"));
  EXPECT_EQ(output.at("outcome"), "OUTCOME_SUCCESS");

  const json ack = {{"callId", call_id},
                    {"claimToken", Base64(kClaimToken)},
                    {"fence", output.at("fence")},
                    {"crc32c", output.at("payload").at("crc32c")}};
  const json acked = Call("client", "AckOutputs", {{"items", {ack}}}).at("results").at(0);
  EXPECT_EQ(Summary(acked.at("status")), "OK");

  const json again = Call("client", "ClaimOutputs",
                          {{"callIds", {call_id}}, {"claimToken", Base64("fedcba9876543210")}});
  EXPECT_FALSE(again.contains("outputs"));
  EXPECT_EQ(Summary(again.at("ended").at(0).at("status")), "OUTPUT_CONSUMED");
}

}  // namespace
}  // namespace mayfly
