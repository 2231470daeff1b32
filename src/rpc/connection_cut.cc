#include "rpc/connection_cut.h"

#include <dirent.h>
#include <memory>
#include <poll.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
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

}  // namespace

void CutConnections(absl::Span<const std::string> peers, CutWhen when) {
  const absl::flat_hash_set<std::string> cut(peers.begin(), peers.end());
  for (const int descriptor : OpenDescriptors()) {
    if (!cut.contains(PeerOf(descriptor).name)) continue;
    // Its owner may close it at any time, and its number be another file's then: what is shut down
    // is a descriptor of our own, after another look.
    const int own = dup(descriptor);
    if (own < 0) continue;
    if (cut.contains(PeerOf(own).name) && (when == CutWhen::kAlways || IsFull(own))) {
      shutdown(own, SHUT_RDWR);
    }
    close(own);
  }
}

}  // namespace mayfly
