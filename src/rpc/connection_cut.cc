#include "rpc/connection_cut.h"

#include <dirent.h>
#include <memory>
#include <poll.h>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include <linux/tcp.h>  // its tcp_info has more than that of netinet/tcp.h
#include <netinet/in.h>
#include <sys/socket.h>

#include "rpc/connection_listener.h"

namespace mayfly {
namespace {

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

// 0 if the kernel does not report it.
uint64_t BytesAcked(int descriptor) {
  tcp_info info = {};
  socklen_t size = sizeof info;
  if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  return info.tcpi_bytes_acked;
}

// Visits each descriptor of a connection to one of `peers`. A connection may have several.
template <typename Visit>
void ForEachConnection(absl::Span<const std::string> peers, Visit visit) {
  const absl::flat_hash_set<std::string> wanted(peers.begin(), peers.end());
  for (const int descriptor : OpenDescriptors()) {
    if (!wanted.contains(PeerOf(descriptor).name)) continue;
    // The owner may close the descriptor at any time, and its number may then belong to another
    // file. So this uses a duplicate, and checks that again.
    const int own = dup(descriptor);
    if (own < 0) continue;
    const std::string peer = PeerOf(own).name;
    if (wanted.contains(peer)) visit(peer, own);
    close(own);
  }
}

}  // namespace

std::vector<std::string> StallWatch::StalledOf(FullConnections full) {
  std::vector<std::string> stalled;
  for (const auto& [peer, bytes_acked] : full) {
    const auto last = last_.find(peer);
    if (last != last_.end() && last->second == bytes_acked) stalled.push_back(peer);
  }
  last_ = std::move(full);
  return stalled;
}

FullConnections FindFullConnections(absl::Span<const std::string> peers) {
  FullConnections full;
  ForEachConnection(peers, [&](const std::string& peer, int descriptor) {
    if (IsFull(descriptor)) full[peer] = BytesAcked(descriptor);
  });
  return full;
}

void CutConnections(absl::Span<const std::string> peers) {
  ForEachConnection(peers,
                    [](const std::string&, int descriptor) { shutdown(descriptor, SHUT_RDWR); });
}

}  // namespace mayfly
