// Certificates: which ones are refused with which words, and that new ones are taken from the disk.
#include "client/connections.h"

#include <atomic>
#include <fstream>
#include <stdlib.h>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/check.h"
#include "base/notification.h"
#include "client/fake_function_io.h"
#include "client/time_budget.h"
#include "mayfly/client.h"
#include "support/authority.h"
#include "support/temporary_directory.h"

namespace mayfly::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::shared_ptr<grpc::ServerCredentials> ServerCredentials(const Authority& trusted,
                                                           const Issued& own) {
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = trusted.own().certificate;
  options.pem_key_cert_pairs.push_back({own.key, own.certificate});
  return grpc::SslServerCredentials(options);
}

class ConnectionsTest : public testing::Test {
 protected:
  ConnectionsTest() {
    Write("ca.pem", authority_.own().certificate);
    WritePair(authority_.Issue({.name = "the client"}));
  }

  void Write(const std::string& name, const std::string& text) const {
    const std::string path = directory_ / name;
    std::ofstream(path + ".new", std::ios::binary) << text;
    Check(rename((path + ".new").c_str(), path.c_str()) == 0, "a file can be replaced");
  }
  void WritePair(const Issued& issued) const {
    Write("client.pem", issued.certificate);
    Write("client.key", issued.key);
  }

  ClientOptions Options(const FakeFunctionIo& server) const {
    return {.target = server.target(),
            .ca_file = directory_ / "ca.pem",
            .certificate_file = directory_ / "client.pem",
            .key_file = directory_ / "client.key",
            .timeout = absl::Seconds(60)};
  }
  // Of a call, after all attempts.
  static absl::Status Call(const ClientOptions& options) {
    const absl::StatusOr<Client> client = Client::Connect(options);
    if (!client.ok()) return client.status();
    return client->DescribeCall("x").status();
  }
  // The text of a call that must fail for good, long before its timeout.
  static std::string Refusal(const ClientOptions& options) {
    const absl::Duration begun = Elapsed();
    const absl::Status status = Call(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << status;
    EXPECT_EQ(ReasonOf(status), Reason::kIdentityInvalid) << status;
    EXPECT_LT(Elapsed() - begun, absl::Seconds(30));
    return std::string(status.message());
  }
  std::string InDirectory(const std::string& text) const {
    return absl::StrReplaceAll(text, {{"DIR", directory_.path()}});
  }

  const TemporaryDirectory directory_;
  const Authority authority_;
  const Authority stranger_{"another CA"};
  FakeFunctionIo server_{ServerCredentials(authority_, authority_.Issue({.name = "the server"}))};
};

TEST_F(ConnectionsTest, AGoodCertificateConnects) {
  EXPECT_EQ(Call(Options(server_)), absl::OkStatus());
}

TEST_F(ConnectionsTest, WhatIsNotGivenComesFromTheEnvironment) {
  const ClientOptions options = Options(server_);
  setenv("MAYFLY_SERVER", "127.0.0.1:1", /*overwrite=*/1);
  setenv("MAYFLY_CA", options.ca_file.c_str(), /*overwrite=*/1);
  setenv("MAYFLY_CERT", options.certificate_file.c_str(), /*overwrite=*/1);
  setenv("MAYFLY_KEY", options.key_file.c_str(), /*overwrite=*/1);
  const auto client = Client::ConnectFromEnvironment({.target = server_.target()});
  for (const char* name : {"MAYFLY_SERVER", "MAYFLY_CA", "MAYFLY_CERT", "MAYFLY_KEY"}) {
    unsetenv(name);
  }
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_EQ(client->DescribeCall("x").status(), absl::OkStatus());
  EXPECT_THAT(std::string(Client::ConnectFromEnvironment().status().message()),
              HasSubstr("target is empty"));
}

// Nobody listens: these are known without a connection.
TEST_F(ConnectionsTest, AnUnusableCertificateIsNamedBeforeConnecting) {
  ClientOptions options = Options(server_);
  options.target = "127.0.0.1:1";
  WritePair(authority_.Issue(
      {.name = "the client",
       .until = absl::FromCivil(absl::CivilDay(2021, 1, 1), absl::UTCTimeZone())}));
  EXPECT_THAT(Refusal(options),
              AllOf(HasSubstr(InDirectory("certificate_file DIR/client.pem (CN=the client) expired "
                                          "at 2021-01-01 00:00:00 UTC")),
                    HasSubstr("renew it")));

  WritePair(authority_.Issue(
      {.from = absl::FromCivil(absl::CivilDay(2090, 1, 1), absl::UTCTimeZone()),
       .until = absl::FromCivil(absl::CivilDay(2091, 1, 1), absl::UTCTimeZone())}));
  EXPECT_THAT(Refusal(options), HasSubstr("is not valid before 2090-01-01 00:00:00 UTC"));

  WritePair(authority_.own());
  EXPECT_THAT(Refusal(options), HasSubstr("(CN=test CA) is the certificate of a CA"));

  Write("client.pem", authority_.Issue({.name = "other"}).certificate);
  EXPECT_THAT(Refusal(options),
              HasSubstr(InDirectory("(CN=other) has another key than key_file DIR/client.key")));
}

TEST_F(ConnectionsTest, AFileThatHoldsSomethingElseIsNamed) {
  Write("client.key", "no key");
  EXPECT_THAT(std::string(Call(Options(server_)).message()),
              HasSubstr(InDirectory("key_file is DIR/client.key, expected a private key")));
  Write("client.pem", "no certificate");
  EXPECT_THAT(std::string(Call(Options(server_)).message()),
              HasSubstr(InDirectory("certificate_file is DIR/client.pem, expected a certificate")));
}

TEST_F(ConnectionsTest, ACertificateThatTheServerRefusesIsNamed) {
  WritePair(stranger_.Issue({.name = "the client"}));
  EXPECT_THAT(Refusal(Options(server_)),
              AllOf(HasSubstr(absl::StrCat("the server ", server_.target(), " refuses ")),
                    HasSubstr(InDirectory("certificate_file DIR/client.pem (CN=the client, issued "
                                          "by CN=another CA, valid until "))));
}

TEST_F(ConnectionsTest, AServerThatCannotBeTrustedIsNamed) {
  Write("ca.pem", stranger_.own().certificate);
  EXPECT_THAT(
      Refusal(Options(server_)),
      AllOf(HasSubstr(absl::StrCat("the certificate of the server ", server_.target(),
                                   " (CN=the server) was issued by a CA (CN=test CA) that is not")),
            HasSubstr(InDirectory("in ca_file DIR/ca.pem"))));
}

TEST_F(ConnectionsTest, AServerCertificateForAnotherNameIsNamed) {
  const FakeFunctionIo server(ServerCredentials(
      authority_, authority_.Issue({.name = "x", .alternative_names = "DNS:mayfly.example"})));
  EXPECT_THAT(Refusal(Options(server)),
              HasSubstr("is for DNS:mayfly.example and not for 127.0.0.1"));
  ClientOptions options = Options(server);
  options.server_name = "mayfly.example";
  EXPECT_EQ(Call(options), absl::OkStatus());
}

TEST_F(ConnectionsTest, AnExpiredServerCertificateIsNamed) {
  const FakeFunctionIo server(ServerCredentials(
      authority_, authority_.Issue({.until = absl::FromCivil(absl::CivilDay(2021, 1, 1),
                                                             absl::UTCTimeZone())})));
  EXPECT_THAT(Refusal(Options(server)), HasSubstr("expired at 2021-01-01 00:00:00 UTC"));
}

TEST_F(ConnectionsTest, AServerThatIsNotThereIsReportedWhileTheCallGoesOn) {
  Notification reported;
  std::string why;
  ClientOptions options = Options(server_);
  options.target = "localhost:1";
  options.on_unreachable = [&](const absl::Status& status) {
    why = std::string(status.message());
    reported.Notify();
  };
  const absl::StatusOr<Client> client = Client::Connect(options);
  ASSERT_TRUE(client.ok());
  Cancellation cancellation;
  auto call = client->PutInputFuture({}, {.cancellation = cancellation});
  reported.WaitForNotification();
  EXPECT_EQ(why, "cannot reach localhost:1: Connection refused");
  cancellation.Cancel();
  call.wait();
}

// In a stream, which waits by itself, as in a call.
TEST_F(ConnectionsTest, AWaitForAnOutputEndsWhenTheCertificateIsRefused) {
  WritePair(stranger_.Issue({.name = "the client"}));
  const absl::StatusOr<Client> client = Client::Connect(Options(server_));
  ASSERT_TRUE(client.ok());
  const absl::Status status = client->AwaitOutput("x", {.wait = absl::Hours(1)}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << status;
}

TEST_F(ConnectionsTest, AReplacedCertificateIsUsedForTheNextConnection) {
  FakeFunctionIo other(ServerCredentials(stranger_, stranger_.Issue({.name = "the server"})));
  ClientOptions options = Options(other);
  const absl::StatusOr<Client> moved = Client::Connect(options);
  EXPECT_EQ(moved->DescribeCall("x").status().code(), absl::StatusCode::kUnauthenticated);
  Write("ca.pem", stranger_.own().certificate);
  WritePair(stranger_.Issue({.name = "the client"}));
  EXPECT_EQ(moved->DescribeCall("x").status(), absl::OkStatus());
}

// Calls go on while certificate and key are replaced one after the other, again and again, and none
// fails. The server has seen every certificate.
TEST_F(ConnectionsTest, ReplacingFilesUnderLoadFailsNoCall) {
  const absl::StatusOr<Client> client = Client::Connect(Options(server_));
  std::atomic<bool> is_over = false;
  std::atomic<int> calls = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 2; ++i) {
    callers.emplace_back([&] {
      while (!is_over) {
        EXPECT_EQ(client->DescribeCall("x").status(), absl::OkStatus());
        ++calls;
      }
    });
  }
  for (int i = 0; i < 3; ++i) {
    const Issued next = authority_.Issue({.name = absl::StrCat("client ", i)});
    Write("client.pem", next.certificate);
    // Longer than files are looked at: the client sees the pair that does not match.
    absl::SleepFor(absl::Milliseconds(1500));
    Write("client.key", next.key);
    const std::string expected = absl::StrCat("client ", i);
    EXPECT_TRUE(server_.WaitForPeer(expected)) << expected;
  }
  // No session stays on the connections of an old certificate.
  EXPECT_TRUE(server_.WaitFor("SessionEnd", 3));
  is_over = true;
  for (std::thread& caller : callers) caller.join();
  EXPECT_GT(calls, 10);
}

}  // namespace
}  // namespace mayfly::client
