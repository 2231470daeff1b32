#include "rpc/connection_cut.h"

#include <dirent.h>
#include <memory>
#include <poll.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace mayfly {
namespace {

// Empty unless the descriptor is a connected IP socket. An IPv4 peer of an IPv6 socket is named as
// an IPv4 one.
std::string PeerOf(int descriptor) {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  if (getpeername(descriptor, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "";
  char text[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET) {
    const auto* const ip = reinterpret_cast<const sockaddr_in*>(&address);
    inet_ntop(AF_INET, &ip->sin_addr, text, sizeof text);
    return absl::StrCat("ipv4:", text, ":", ntohs(ip->sin_port));
  }
  if (address.ss_family != AF_INET6) return "";
  const auto* const ip = reinterpret_cast<const sockaddr_in6*>(&address);
  if (IN6_IS_ADDR_V4MAPPED(&ip->sin6_addr)) {
    inet_ntop(AF_INET, ip->sin6_addr.s6_addr + 12, text, sizeof text);
    return absl::StrCat("ipv4:", text, ":", ntohs(ip->sin6_port));
  }
  inet_ntop(AF_INET6, &ip->sin6_addr, text, sizeof text);
  return absl::StrCat("ipv6:%5B", text, "%5D:", ntohs(ip->sin6_port));
}

std::vector<int> OpenDescriptors() {
  std::vector<int> descriptors;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir("/proc/self/fd"), closedir);
  if (directory == nullptr) return descriptors;
  while (const dirent* const entry = readdir(directory.get())) {
    int descriptor = 0;
    if (absl::SimpleAtoi(entry->d_name, &descriptor)) descriptors.push_back(descriptor);
  }
  return descriptors;
}

bool IsFull(int descriptor) {
  pollfd socket = {.fd = descriptor, .events = POLLOUT, .revents = 0};
  return poll(&socket, 1, 0) == 0;
}

}  // namespace

void CutConnections(absl::Span<const std::string> peers, CutWhen when) {
  const absl::flat_hash_set<std::string> cut(peers.begin(), peers.end());
  for (const int descriptor : OpenDescriptors()) {
    if (!cut.contains(PeerOf(descriptor))) continue;
    // Its owner may close it at any time, and its number be another file's then: what is shut down
    // is a descriptor of our own, after another look.
    const int own = dup(descriptor);
    if (own < 0) continue;
    if (cut.contains(PeerOf(own)) && (when == CutWhen::kAlways || IsFull(own))) {
      shutdown(own, SHUT_RDWR);
    }
    close(own);
  }
}

}  // namespace mayfly
