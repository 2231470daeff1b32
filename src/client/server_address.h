// The address of a server, as ClientOptions.target has it.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace mayfly::client {

struct ServerAddress {
  std::string host;  // without the brackets of an IPv6 address
  int port = 0;

  // "host:port", with the brackets.
  std::string ToString() const;
};

// "host", "host:port", "[address]" or "[address]:port". The port is 7443 if it is missing.
// INVALID_ARGUMENT (target): no such address, or a port outside 1..65535.
absl::StatusOr<ServerAddress> ParseServerAddress(const std::string& target);

// Whether it has a scheme of gRPC's, such as dns:/// or unix:, which gRPC is left to understand.
bool HasScheme(const std::string& target);

}  // namespace mayfly::client
