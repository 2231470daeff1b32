// What gets through the door: TLS 1.3, with a certificate of our CA, and nothing else.

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include "e2e/subscription_call.h"
#include "e2e/test_client.h"
#include "support/test_server.h"

namespace mayfly {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class Tls : public ::testing::Test {
 protected:
  void SetUp() override { server_.Start(); }
  void TearDown() override { EXPECT_EQ(server_.Stop(), 0) << server_.Log(); }

  // What `openssl s_client` says, with our client certificate unless told otherwise. It reads
  // nothing and ends a while after the handshake, with -ign_eof when the server ends the
  // connection.
  std::string Handshake(const std::string& options, const std::string& certificate = "client") {
    const std::string stem = absl::StrCat(server_.certificates(), "/", certificate);
    const std::string identity =
        certificate.empty() ? "" : absl::StrCat(" -cert ", stem, ".pem -key ", stem, ".key");
    return RunProgram({"sh", "-c",
                       absl::StrCat("sleep 0.3 | timeout 120 openssl s_client -connect 127.0.0.1:",
                                    server_.port(), " -CAfile ", server_.certificates(),
                                    "/ca.pem -alpn h2", identity, " ", options)})
        .output;
  }

  // The first RPC of a new connection. Refused handshakes are UNAVAILABLE, without a reason.
  std::string Call(const std::shared_ptr<grpc::Channel>& channel) {
    const auto stub = v1::FunctionIo::NewStub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::DescribeCallsRequest request;
    request.add_call_ids(NewCallId());
    v1::DescribeCallsResponse response;
    return Summary(stub->DescribeCalls(&context, request, &response));
  }

  TestServer server_;
};

TEST_F(Tls, SpeaksVersion13) {
  const std::string output = Handshake("-tls1_3");
  EXPECT_THAT(output, HasSubstr("New, TLSv1.3"));
  EXPECT_THAT(output, HasSubstr("ALPN protocol: h2"));
  EXPECT_THAT(output, Not(HasSubstr("unexpected eof")));
  EXPECT_EQ(Call(server_.Channel("client")), "OK");
}

TEST_F(Tls, RefusesEveryOlderVersion) {
  for (const std::string version : {"-tls1_2", "-tls1_1", "-tls1"}) {
    // Security level 0, so that it is the server that says no.
    const std::string output = Handshake(version + " -cipher ALL:@SECLEVEL=0");
    EXPECT_THAT(output, HasSubstr("Cipher is (NONE)")) << version;
  }
  EXPECT_THAT(server_.Log(), HasSubstr("unsupported protocol"));
}

TEST_F(Tls, RefusesAClientWithoutACertificate) {
  // In TLS 1.3 the client is done before the server is, and then finds itself cut off.
  EXPECT_THAT(Handshake("-tls1_3 -ign_eof", ""), HasSubstr("unexpected eof"));
  EXPECT_THAT(server_.Log(), HasSubstr("peer did not return a certificate"));
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = ReadWholeFile(server_.certificates() + "/ca.pem");
  EXPECT_EQ(Call(grpc::CreateChannel(absl::StrCat("localhost:", server_.port()),
                                     grpc::SslCredentials(options))),
            "UNAVAILABLE");
}

TEST_F(Tls, RefusesACertificateOfAnotherCa) {
  const TestServer elsewhere;
  server_.MakeCertificate("stranger", "URI:spiffe://mayfly.local/tenant/default/client",
                          elsewhere.certificates());
  EXPECT_THAT(Handshake("-tls1_3 -ign_eof", "stranger"), HasSubstr("unexpected eof"));
  EXPECT_THAT(server_.Log(), HasSubstr("certificate verify failed"));
  EXPECT_EQ(Call(server_.Channel("stranger")), "UNAVAILABLE");
}

// The server's certificate is for servers only.
TEST_F(Tls, LogsWhyItRefusesACertificate) {
  EXPECT_THAT(Handshake("-tls1_3 -ign_eof", "server"), HasSubstr("unexpected eof"));
  EXPECT_THAT(server_.Log(),
              HasSubstr("certificate verify failed: the client's certificate: its key "
                        "usage is not that of a client (extendedKeyUsage needs "
                        "clientAuth"));
  const TestServer elsewhere;
  server_.MakeCertificate("stranger", "URI:spiffe://mayfly.local/tenant/default/client",
                          elsewhere.certificates());
  EXPECT_THAT(Handshake("-tls1_3 -ign_eof", "stranger"), HasSubstr("unexpected eof"));
  EXPECT_THAT(server_.Log(), HasSubstr("unable to get local issuer certificate"));
}

TEST_F(Tls, RefusesPlaintext) {
  EXPECT_EQ(Call(grpc::CreateChannel(absl::StrCat("localhost:", server_.port()),
                                     grpc::InsecureChannelCredentials())),
            "UNAVAILABLE");
}

TEST_F(Tls, ResumesNoSession) {
  const std::string session = server_.directory() / "session";
  // Longer than the pause of Handshake: a ticket would come behind the handshake.
  EXPECT_THAT(Handshake(absl::StrCat("-tls1_3 -sess_out ", session)), HasSubstr("New, TLSv1.3"));
  EXPECT_EQ(ReadWholeFile(session), "") << "the server has given a ticket";
}

// What a client of the certificate NAME sees of its time: whether it is served, and how long.
class IdentityTest : public Tls {
 protected:
  static constexpr char kClient[] = "URI:spiffe://mayfly.local/tenant/default/client";

  // The status with which a stream that is left open ends, and a poll that waits.
  struct Ends {
    std::string stream;
    std::string poll;
    std::string session;
  };
  // Runs `end` when all of them are under way.
  template <typename End>
  Ends EndsOf(const std::shared_ptr<grpc::Channel>& channel, End end) {
    TestClient client(channel);
    const std::string id = NewCallId();
    EXPECT_EQ(client.PutInput(id, "in"), "OK");
    SubscriptionCall stream(&client);
    EXPECT_TRUE(stream.Write(SubscriptionCall::Opening()));
    grpc::ClientContext session_context;
    const auto session = client.stub()->Session(&session_context);
    Ends ends;
    std::thread poll([&] {
      v1::ClaimedOutput output;
      std::string ended;
      ends.poll = client.Claim(id, NewClaimToken(), &output, &ended, /*wait_s=*/50);
    });
    end();
    ends.stream = stream.FinishAfterRest();
    v1::SessionResponse rest;
    while (session->Read(&rest)) {
    }
    ends.session = Summary(session->Finish());
    poll.join();
    return ends;
  }
  static void ExpectUnauthenticated(const Ends& ends) {
    EXPECT_THAT(ends.stream, StartsWith("UNAUTHENTICATED"));
    EXPECT_THAT(ends.session, StartsWith("UNAUTHENTICATED"));
    EXPECT_THAT(ends.poll, StartsWith("UNAUTHENTICATED"));
  }
};

TEST_F(IdentityTest, EndsWithItsCertificateOnAConnectionThatGoesOn) {
  constexpr absl::Duration kValid = absl::Seconds(12);
  const absl::Time now = absl::Now();
  server_.MakeCertificate("short", kClient, now - absl::Minutes(1), now + kValid);
  const auto channel = server_.Channel("short");
  const absl::Time not_after = absl::FromUnixSeconds(absl::ToUnixSeconds(now)) + kValid;
  ExpectUnauthenticated(EndsOf(channel, [] {}));
  EXPECT_GE(absl::Now(), not_after);
  // A second between two looks, and what a busy machine adds; less than the poll would have taken.
  EXPECT_LE(absl::Now(), not_after + absl::Seconds(30));
  EXPECT_EQ(channel->GetState(false), GRPC_CHANNEL_READY);
  EXPECT_EQ(Call(channel), "UNAUTHENTICATED IDENTITY_INVALID");
}

TEST_F(IdentityTest, EndsWithItsCa) {
  const TestServer elsewhere;
  const auto channel = server_.Channel("client");
  ExpectUnauthenticated(EndsOf(channel, [&] {
    ASSERT_EQ(rename((elsewhere.certificates() + "/ca.pem").c_str(),
                     (server_.certificates() + "/ca.pem").c_str()),
              0);
  }));
  EXPECT_EQ(Call(channel), "UNAUTHENTICATED IDENTITY_INVALID");
}

TEST_F(Tls, TakesUpAReplacedCertificateWithoutARestart) {
  const auto serial = [&] {
    const std::string output =
        RunProgram({"sh", "-c",
                    absl::StrCat("openssl s_client -connect 127.0.0.1:", server_.port(),
                                 " </dev/null 2>/dev/null | openssl x509 -noout -serial")})
            .output;
    return output;
  };
  const std::string before = serial();
  ASSERT_THAT(before, HasSubstr("serial="));
  server_.MakeCertificate("replacement", "DNS:localhost,IP:127.0.0.1");
  for (const char* const suffix : {".key", ".pem"}) {
    ASSERT_EQ(rename(absl::StrCat(server_.certificates(), "/replacement", suffix).c_str(),
                     absl::StrCat(server_.certificates(), "/server", suffix).c_str()),
              0);
  }
  const absl::Time end = absl::Now() + absl::Seconds(60);
  while (serial() != "serial=11\n" && absl::Now() < end) absl::SleepFor(absl::Milliseconds(100));
  EXPECT_EQ(serial(), "serial=11\n");  // 17, which MakeCertificate gives
  EXPECT_EQ(Call(server_.Channel("client")), "OK");
}

}  // namespace
}  // namespace mayfly
