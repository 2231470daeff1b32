// How programs that use the client end.
#include <stdlib.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>
#include <openssl/rand.h>

#include "base/check.h"
#include "mayfly/client.h"
#include "support/temporary_directory.h"

namespace mayfly::client {
namespace {

constexpr int kExitOpenSslWorks = 42;

bool OpenSslWorks() {
  unsigned char byte = 0;
  return RAND_bytes(&byte, sizeof byte) == 1;
}

// By a program of its own, because this process must not use OpenSSL.
constexpr char kMakeCertificate[] =
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=client -days 2 "
    "-addext basicConstraints=CA:FALSE -keyout client.key -out client.pem 2>&1";

[[noreturn]] void ConnectAndExit(const TemporaryDirectory& directory) {
  // Registered before OpenSSL registers anything, this runs after it.
  atexit([] { _exit(OpenSslWorks() ? kExitOpenSslWorks : EXIT_FAILURE); });
  const auto client = Client::Connect({.target = "127.0.0.1:1",
                                       .ca_file = directory / "client.pem",
                                       .certificate_file = directory / "client.pem",
                                       .key_file = directory / "client.key"});
  Check(client.ok() && OpenSslWorks(), "a client is made, and OpenSSL used");
  exit(EXIT_SUCCESS);
}

// A thread of gRPC that reconnected just then used to crash.
TEST(ExitDeathTest, OpenSslWorksUntilTheProgramHasEnded) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a process that has not used OpenSSL yet
  const TemporaryDirectory directory;
  const std::string command = absl::StrCat("cd ", directory.path(), "; ", kMakeCertificate);
  ASSERT_EQ(system(command.c_str()), 0);
  EXPECT_EXIT(ConnectAndExit(directory), testing::ExitedWithCode(kExitOpenSslWorks), "");
}

}  // namespace
}  // namespace mayfly::client
