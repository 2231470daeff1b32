#include "client_connect.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace mayfly::peers {

client::Client ConnectOrDie(const MayflyTarget& target, const std::string& role) {
  const std::string path = absl::StrCat(target.certificate_directory, "/", role);
  auto connected =
      client::Client::Connect({.target = target.address,
                               .ca_file = absl::StrCat(target.certificate_directory, "/ca.pem"),
                               .certificate_file = path + ".pem",
                               .key_file = path + ".key"});
  if (!connected.ok()) Die(connected.status().ToString());
  return *std::move(connected);
}

}  // namespace mayfly::peers
