// How programs that use the client end.
#include <fstream>
#include <stdlib.h>
#include <unistd.h>

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

[[noreturn]] void ConnectAndExit(const std::string& pem_path) {
  // Registered before OpenSSL registers anything, this runs after it.
  atexit([] { _exit(OpenSslWorks() ? kExitOpenSslWorks : EXIT_FAILURE); });
  const auto client = Client::Connect({.target = "127.0.0.1:1",
                                       .ca_file = pem_path,
                                       .certificate_file = pem_path,
                                       .key_file = pem_path});
  Check(client.ok() && OpenSslWorks(), "a client is made, and OpenSSL used");
  exit(EXIT_SUCCESS);
}

// A thread of gRPC that reconnected just then used to crash.
TEST(ExitDeathTest, OpenSslWorksUntilTheProgramHasEnded) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a process that has not used OpenSSL yet
  const TemporaryDirectory directory;
  const std::string pem_path = directory / "any.pem";
  std::ofstream(pem_path) << "-----BEGIN NOTHING-----\n";
  EXPECT_EXIT(ConnectAndExit(pem_path), testing::ExitedWithCode(kExitOpenSslWorks), "");
}

}  // namespace
}  // namespace mayfly::client
