#include "rpc/tls_peers.h"

#include <memory>
#include <string>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/check.h"
#include "base/error.h"
#include "support/manual_clock.h"
#include "support/test_server.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;

constexpr char kClient[] = "URI:spiffe://mayfly.local/tenant/default/client";

// Tomorrow, since the CAs are made now.
absl::Time Tomorrow() {
  return absl::FromUnixSeconds(absl::ToUnixSeconds(absl::Now())) + absl::Hours(24);
}

// Two CAs, only one of which is trusted at first, and a clock that stands where the certificate
// "timed" is valid.
class TlsPeersTest : public ::testing::Test {
 protected:
  TlsPeersTest() : clock_(not_before_ + absl::Minutes(1)) {
    ours_.MakeCertificate("timed", kClient, not_before_, not_after_);
    WriteWholeFile(trusted(), Pem(ours_, "ca"));
    auto opened = TlsPeers::Open(trusted(), &clock_);
    Check(opened.ok(), "there is a CA");
    peers_ = *std::move(opened);
  }

  std::string trusted() const { return ours_.directory() / "trusted.pem"; }
  static std::string Pem(const TestServer& server, const std::string& name) {
    return ReadWholeFile(absl::StrCat(server.certificates(), "/", name, ".pem"));
  }
  absl::Status CheckTimed(const std::string& intermediates = "") {
    const std::string pem = Pem(ours_, "timed");
    const absl::Status status = peers_->Check({.certificate = pem, .intermediates = intermediates});
    if (!status.ok()) {
      EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
      EXPECT_EQ(ReasonOf(status), Reason::kIdentityInvalid);
    }
    return status;
  }

  static std::string Text(absl::Time time) {
    return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
  }

  const absl::Time not_before_ = Tomorrow();
  const absl::Time not_after_ = not_before_ + absl::Hours(1);
  TestServer ours_;  // only for its certificates
  ManualClock clock_;
  std::unique_ptr<TlsPeers> peers_;
};

TEST_F(TlsPeersTest, ACertificateCountsFromItsFirstSecondToItsLast) {
  EXPECT_TRUE(CheckTimed().ok());
  clock_.JumpWall(-absl::Minutes(1));
  EXPECT_TRUE(CheckTimed().ok());
  clock_.JumpWall(-absl::Seconds(1));
  EXPECT_THAT(CheckTimed().message(),
              HasSubstr("certificate is not valid before " + Text(not_before_)));
  clock_.JumpWall(absl::Hours(1));
  EXPECT_TRUE(CheckTimed().ok());
  clock_.JumpWall(absl::Seconds(1));
  EXPECT_THAT(CheckTimed().message(), HasSubstr("certificate expired at " + Text(not_after_)));
  // The certificate is valid again when the clock is corrected.
  clock_.JumpWall(-absl::Minutes(30));
  EXPECT_TRUE(CheckTimed().ok());
}

TEST_F(TlsPeersTest, ACertificateEndsWithItsCa) {
  const TestServer elsewhere;
  EXPECT_TRUE(CheckTimed().ok());
  WriteWholeFile(trusted(), Pem(elsewhere, "ca"));
  EXPECT_TRUE(CheckTimed().ok()) << "the file is not read at every RPC";
  EXPECT_TRUE(peers_->Refresh().ok());
  EXPECT_THAT(CheckTimed().message(), HasSubstr("no longer from a trusted CA"));
  // Back again, beside the other.
  WriteWholeFile(trusted(), Pem(elsewhere, "ca") + Pem(ours_, "ca"));
  EXPECT_TRUE(peers_->Refresh().ok());
  EXPECT_TRUE(CheckTimed().ok());
}

TEST_F(TlsPeersTest, AFileThatCannotBeUsedChangesNothing) {
  for (const char* const content : {"", "-----BEGIN CERTIFICATE-----\nAAAA\n"}) {
    WriteWholeFile(trusted(), content);
    EXPECT_FALSE(peers_->Refresh().ok());
    EXPECT_TRUE(CheckTimed().ok());
  }
  ASSERT_EQ(unlink(trusted().c_str()), 0);
  EXPECT_FALSE(peers_->Refresh().ok());
  EXPECT_TRUE(CheckTimed().ok());
}

// A client sends the certificates between its own and the CA's, and they end, too.
TEST_F(TlsPeersTest, AChainEndsWithItsShortestCertificate) {
  const std::string dir = ours_.certificates();
  // A root whose path may be longer than our CA's, and below it the CA "between", which is valid for
  // the first half only.
  const ProgramResult made = RunProgram(
      {"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
       "-subj", "/CN=root", "-days", "30", "-addext", "basicConstraints=critical,CA:TRUE",
       "-keyout", dir + "/root.key", "-out", dir + "/root.pem"});
  ASSERT_EQ(made.exit_code, 0) << made.output;
  WriteWholeFile(trusted(), Pem(ours_, "root"));
  ASSERT_TRUE(peers_->Refresh().ok());
  const absl::Time between_end = not_before_ + absl::Minutes(30);
  ours_.MakeCertificate("leaf", kClient, not_before_, not_after_);
  ours_.MakeCertificate("between", kClient, not_before_, between_end);
  WriteWholeFile(dir + "/between.cnf", "basicConstraints = critical,CA:TRUE\n");
  const auto sign = [&](const std::string& name, const std::string& ca, absl::Time end) {
    const auto time = [](absl::Time at) {
      return absl::FormatTime("%Y%m%d%H%M%SZ", at, absl::UTCTimeZone());
    };
    const ProgramResult result = RunProgram(
        {"sh", "-c",
         absl::StrCat("cd ", dir, " && openssl req -new -key ", name, ".key -subj /CN=", name,
                      " -out ", name, ".csr && openssl ca -batch -notext -config ", name,
                      ".ca.cnf -cert ", ca, ".pem -keyfile ", ca, ".key -extfile ", name,
                      ".cnf -startdate ", time(not_before_), " -enddate ", time(end), " -in ", name,
                      ".csr -out ", name, ".pem")});
    ASSERT_EQ(result.exit_code, 0) << result.output;
  };
  sign("between", "root", between_end);
  sign("leaf", "between", not_after_);
  const std::string leaf = Pem(ours_, "leaf");
  const std::string between = Pem(ours_, "between");
  const auto check = [&](const std::string& intermediates) {
    return peers_->Check({.certificate = leaf, .intermediates = intermediates});
  };
  EXPECT_FALSE(check("").ok()) << "there is no path without it";
  EXPECT_TRUE(check(between).ok()) << check(between);
  clock_.JumpWall(absl::Minutes(28));
  EXPECT_TRUE(check(between).ok());
  clock_.JumpWall(absl::Minutes(1));
  EXPECT_THAT(check(between).message(),
              HasSubstr("a CA of the client's certificate expired at " + Text(between_end)));
}

TEST_F(TlsPeersTest, RefusesWhatIsNoCertificate) {
  EXPECT_FALSE(peers_->Check({.certificate = "", .intermediates = ""}).ok());
  EXPECT_FALSE(peers_->Check({.certificate = "rubbish", .intermediates = ""}).ok());
}

TEST_F(TlsPeersTest, ADirectoryInPlaceOfTheFileIsAnError) {
  EXPECT_EQ(TlsPeers::Open(ours_.directory().path(), &clock_).status().message(),
            "tls.ca_file cannot be read");
}

}  // namespace
}  // namespace mayfly
