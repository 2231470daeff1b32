#include "support/loopback_socket.h"

#include <fcntl.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/check.h"

namespace mayfly {
namespace {

constexpr int kBacklog = 256;

sockaddr_in AddressOf(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

LoopbackSocket NewSocket() {
  LoopbackSocket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Check(socket.is_open(), "a socket can be made");
  return socket;
}

// Nothing may wait for more to come: a proxy is to pass on what it has.
void SendAtOnce(int descriptor) {
  const int on = 1;
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

}  // namespace

LoopbackSocket& LoopbackSocket::operator=(LoopbackSocket&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

LoopbackSocket::~LoopbackSocket() {
  if (is_open()) close(descriptor_);
}

LoopbackSocket LoopbackSocket::Listen() {
  LoopbackSocket socket = NewSocket();
  const sockaddr_in address = AddressOf(0);
  Check(bind(socket.descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0,
        "a free port can be had");
  Check(listen(socket.descriptor_, kBacklog) == 0, "a socket can listen");
  return socket;
}

LoopbackSocket LoopbackSocket::Connect(int port) {
  LoopbackSocket socket = NewSocket();
  const sockaddr_in address = AddressOf(port);
  if (connect(socket.descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
      0) {
    return LoopbackSocket();
  }
  SendAtOnce(socket.descriptor_);
  return socket;
}

LoopbackSocket LoopbackSocket::Accept() const {
  LoopbackSocket socket(accept4(descriptor_, nullptr, nullptr, SOCK_CLOEXEC));
  if (socket.is_open()) SendAtOnce(socket.descriptor_);
  return socket;
}

void LoopbackSocket::Reset() {
  const linger at_once = {.l_onoff = 1, .l_linger = 0};
  setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(std::exchange(descriptor_, -1));
}

void LoopbackSocket::EndSending() const { shutdown(descriptor_, SHUT_WR); }

void LoopbackSocket::MakeNonBlocking() const {
  Check(fcntl(descriptor_, F_SETFL, fcntl(descriptor_, F_GETFL) | O_NONBLOCK) == 0,
        "a socket can be made non-blocking");
}

int LoopbackSocket::port() const {
  sockaddr_in address = {};
  socklen_t size = sizeof address;
  Check(getsockname(descriptor_, reinterpret_cast<sockaddr*>(&address), &size) == 0,
        "a socket has a port");
  return ntohs(address.sin_port);
}

}  // namespace mayfly
