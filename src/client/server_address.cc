#include "client/server_address.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include <arpa/inet.h>

#include "base/error.h"

namespace mayfly::client {
namespace {

constexpr int kDefaultPort = 7443;
constexpr int kPortMax = 65'535;
constexpr const char* kSchemes[] = {
    "dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:"};

absl::Status TargetError(const std::string& target, absl::string_view expected) {
  return FieldError("target", target.empty() ? "empty" : target, expected);
}

// The part behind % names the interface of a link-local address.
bool IsIpv6(const std::string& host) {
  in6_addr address;
  return inet_pton(AF_INET6, host.substr(0, host.find('%')).c_str(), &address) == 1;
}

bool IsHost(const std::string& host) {
  if (absl::StrContains(host, ':')) return IsIpv6(host);
  return !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c)) && c != '/' && c != '[' && c != ']';
  });
}

}  // namespace

std::string ServerAddress::ToString() const {
  const bool is_ipv6 = absl::StrContains(host, ':');
  return is_ipv6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

absl::StatusOr<ServerAddress> ParseServerAddress(const std::string& target) {
  const absl::string_view text = target;
  if (absl::StrContains(text, "://")) {
    return TargetError(target, "expected host:port without a scheme, such as mayfly.example:7443");
  }
  ServerAddress address{.host = target, .port = kDefaultPort};
  size_t colon = absl::string_view::npos;
  if (absl::StartsWith(text, "[")) {
    const size_t close = text.find(']');
    if (close != absl::string_view::npos) address.host = std::string(text.substr(1, close - 1));
    if (!IsIpv6(address.host)) {
      return TargetError(target, "expected an IPv6 address in brackets, such as [::1]:7443");
    }
    if (close + 1 < text.size()) colon = close + 1;
    if (colon != absl::string_view::npos && text[colon] != ':') {
      return TargetError(target, "expected [address]:port");
    }
  } else if (std::count(text.begin(), text.end(), ':') == 1) {
    colon = text.find(':');
    address.host = std::string(text.substr(0, colon));
  }
  if (!IsHost(address.host)) {
    return TargetError(target, "expected host:port, such as mayfly.example:7443");
  }
  if (colon == absl::string_view::npos) return address;
  const absl::string_view port = text.substr(colon + 1);
  const bool is_number = !port.empty() && absl::ascii_isdigit(port[0]);
  if (!is_number || !absl::SimpleAtoi(port, &address.port) || address.port < 1 ||
      address.port > kPortMax) {
    return TargetError(target, absl::StrCat("range of the port is 1 to ", kPortMax));
  }
  return address;
}

bool HasScheme(const std::string& target) {
  return std::any_of(std::begin(kSchemes), std::end(kSchemes),
                     [&](const char* scheme) { return absl::StartsWith(target, scheme); });
}

}  // namespace mayfly::client
