// Connects the C++ client to a test's server.
#pragma once

#include <string>

#include "absl/strings/str_cat.h"

#include "base/check.h"
#include "mayfly/client.h"
#include "support/test_server.h"

namespace mayfly {

// `who` is a certificate of the server's directory; `port` that of a proxy when it is not 0.
inline client::Client ConnectClient(const TestServer& server, const std::string& who,
                                    int port = 0) {
  const std::string stem = absl::StrCat(server.certificates(), "/", who);
  auto connected = client::Client::Connect(
      {.target = absl::StrCat("localhost:", port == 0 ? server.port() : port),
       .ca_file = server.certificates() + "/ca.pem",
       .certificate_file = stem + ".pem",
       .key_file = stem + ".key",
       // One stream of segments at a time, on one connection.
       .large_channels = 1});
  Check(connected.ok(), "a client can be made");
  return *std::move(connected);
}

}  // namespace mayfly
