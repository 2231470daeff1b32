// A TcpProxy for tests in other languages. It reads one command per line from standard input and
// answers each with a line. It ends with its input.
//
//   tcp_proxy_tool SERVER_PORT
//
// First it prints the port that it listens on.
//
//   cut-after to-server|to-client BYTES fin|reset   ok
//   wait-for-cut                                    yes|no
//   cut-all fin|reset                               ok
//   connections                                     how many there have been
//   passed to-server|to-client                      bytes, over all connections

#include <cstdint>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>

#include "support/tcp_proxy.h"

namespace mayfly {
namespace {

std::optional<TcpProxy::Ending> EndingOf(const std::string& name) {
  if (name == "fin") return TcpProxy::Ending::kFin;
  if (name == "reset") return TcpProxy::Ending::kReset;
  return std::nullopt;
}

std::optional<TcpProxy::Direction> DirectionOf(const std::string& name) {
  if (name == "to-server") return TcpProxy::kToServer;
  if (name == "to-client") return TcpProxy::kToClient;
  return std::nullopt;
}

std::string Obey(const std::string& line, TcpProxy* proxy) {
  std::istringstream words(line);
  std::string command;
  words >> command;
  if (command == "connections") return std::to_string(proxy->ConnectionCount());
  if (command == "wait-for-cut") return proxy->WaitForCut() ? "yes" : "no";
  if (command == "cut-all") {
    std::string ending;
    words >> ending;
    if (!EndingOf(ending).has_value()) return "no such ending";
    proxy->CutAll(*EndingOf(ending));
    return "ok";
  }
  if (command == "passed") {
    std::string direction;
    words >> direction;
    if (!DirectionOf(direction).has_value()) return "no such direction";
    return std::to_string(proxy->PassedBytes(*DirectionOf(direction)));
  }
  if (command == "cut-after") {
    std::string direction;
    uint64_t bytes = 0;
    std::string ending;
    words >> direction >> bytes >> ending;
    if (!DirectionOf(direction).has_value()) return "no such direction";
    if (!EndingOf(ending).has_value()) return "no such ending";
    proxy->CutAfter(*DirectionOf(direction), bytes, *EndingOf(ending));
    return "ok";
  }
  return "no such command";
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  mayfly::TcpProxy proxy(std::stoi(argv[1]));
  std::cout << proxy.port() << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << mayfly::Obey(line, &proxy) << std::endl;
  }
  return 0;
}
