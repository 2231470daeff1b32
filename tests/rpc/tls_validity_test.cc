#include "rpc/tls_validity.h"

#include "absl/time/clock.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/test_server.h"

namespace mayfly {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// All certificates of a TestServer are valid for a year from when it was made.
class TlsValidityTest : public ::testing::Test {
 protected:
  TlsValidityTest() : ca_(Read("ca.pem")), server_(Read("server.pem")) {
    tls_.ca_file = "/etc/ca.pem";
    tls_.certificate_file = "/etc/server.pem";
  }
  static std::string Read(const std::string& name) {
    static const TestServer server;  // only for its certificates, which take a second to make
    return ReadWholeFile(server.certificates() + "/" + name);
  }
  // And a minute: this process may know a step of the clock later than the one that made the certificates.
  std::vector<std::string> WarningsIn(absl::Duration from_now) const {
    return TlsValidityWarnings(tls_, {.ca = ca_, .certificate = server_},
                               absl::Now() + absl::Minutes(1) + from_now);
  }

  static constexpr absl::Duration kDay = absl::Hours(24);
  Config::Tls tls_;
  std::string ca_;
  std::string server_;
};

TEST_F(TlsValidityTest, WarnsOfNothingBeforeTheLastTwoWeeks) {
  EXPECT_THAT(WarningsIn(absl::Minutes(1)), IsEmpty());
  EXPECT_THAT(WarningsIn(350 * kDay), IsEmpty());
}

TEST_F(TlsValidityTest, CountsTheDaysAndHoursBeforeTheEnd) {
  EXPECT_THAT(WarningsIn(360 * kDay),
              ElementsAre(AllOf(StartsWith("the server's certificate in tls.certificate_file "
                                           "/etc/server.pem expires at 2"),
                                HasSubstr(" (in 4 days): replace it, with tls.key_file; the server "
                                          "takes it within tls.reload_interval (10s)")),
                          AllOf(StartsWith("the CA that is valid longest in tls.ca_file "
                                           "/etc/ca.pem expires at 2"),
                                HasSubstr(" (in 4 days): add its successor"))));
  EXPECT_THAT(WarningsIn(364 * kDay)[0], HasSubstr(" (in 23 h)"));
  EXPECT_NE(WarningsIn(360 * kDay), WarningsIn(361 * kDay));
}

TEST_F(TlsValidityTest, SaysThatNobodyAcceptsAnExpiredOne) {
  EXPECT_THAT(WarningsIn(368 * kDay),
              ElementsAre(AllOf(HasSubstr(" expired at "),
                                HasSubstr("(3 days ago): no client accepts it: replace it")),
                          HasSubstr("(3 days ago): no client is accepted: add its successor")));
}

TEST_F(TlsValidityTest, SaysThatNobodyAcceptsOneThatIsNotValidYet) {
  EXPECT_THAT(WarningsIn(-2 * kDay),
              ElementsAre(HasSubstr("is not valid before "), HasSubstr("is not valid before ")));
}

TEST_F(TlsValidityTest, LooksAtTheWholeChainAndAtTheBestCa) {
  server_ = Read("server.pem") + Read("ca.pem");
  EXPECT_THAT(WarningsIn(absl::Minutes(1)), IsEmpty());
  ca_ = "";
  server_ = "";
  EXPECT_THAT(WarningsIn(368 * kDay), IsEmpty()) << "that is another fault";
}

}  // namespace
}  // namespace mayfly
