// The answers of a server that has no store yet.

#include "rpc/server.h"

#include <string>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include "mayfly/v1/function_io.grpc.pb.h"
#include "rpc/recording_log.h"
#include "support/test_server.h"

namespace mayfly {
namespace {

std::string ReasonIn(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details()) || details.details_size() == 0) return "";
  details.details(0).UnpackTo(&info);
  return info.reason();
}

class StartingServer : public ::testing::Test {
 protected:
  StartingServer() {
    config_.server.listen = "127.0.0.1:0";
    config_.tls.ca_file = files_.certificates() + "/ca.pem";
    config_.tls.certificate_file = files_.certificates() + "/server.pem";
    config_.tls.key_file = files_.certificates() + "/server.key";
  }

  grpc::Status Describe(const Server& server, const std::string& certificate) {
    const std::string stem = absl::StrCat(files_.certificates(), "/", certificate);
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = ReadWholeFile(config_.tls.ca_file);
    options.pem_cert_chain = ReadWholeFile(stem + ".pem");
    options.pem_private_key = ReadWholeFile(stem + ".key");
    const auto stub = v1::FunctionIo::NewStub(grpc::CreateChannel(
        absl::StrCat("localhost:", server.port()), grpc::SslCredentials(options)));
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    v1::DescribeCallsRequest request;
    request.add_call_ids("019470a8-1c00-7abc-8def-0123456789ab");
    v1::DescribeCallsResponse response;
    return stub->DescribeCalls(&context, request, &response);
  }

  TestServer files_;  // only for its certificates
  Config config_;
  RecordingLog log_;
  SystemClock clock_;
};

TEST_F(StartingServer, AnswersStartingToThoseWhoMayAsk) {
  auto server = Server::Start(config_, &log_, &clock_);
  ASSERT_TRUE(server.ok()) << server.status();
  const grpc::Status client = Describe(**server, "client");
  EXPECT_EQ(client.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(client), "STARTING");
  const grpc::Status monitor = Describe(**server, "monitor");
  EXPECT_EQ(monitor.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ReasonIn(monitor), "ROLE_REQUIRED");
}

TEST_F(StartingServer, IsRefusedAnUnusableAddress) {
  config_.server.listen = "192.0.2.1:1";  // TEST-NET-1, RFC 5737: nobody's
  const auto server = Server::Start(config_, &log_, &clock_);
  EXPECT_EQ(server.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(server.status().message()), ::testing::HasSubstr("192.0.2.1:1"));
}

TEST_F(StartingServer, IsRefusedAKeyOfAnotherCertificate) {
  config_.tls.key_file = files_.certificates() + "/client.key";
  const auto server = Server::Start(config_, &log_, &clock_);
  EXPECT_EQ(server.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(server.status().message()), ::testing::HasSubstr("tls.key_file"));
}

}  // namespace
}  // namespace mayfly
