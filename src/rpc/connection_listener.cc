#include "rpc/connection_listener.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include <arpa/inet.h>
#include <linux/tcp.h>  // as connection_cut.cc: it and netinet/tcp.h exclude each other
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/check.h"

namespace mayfly {
namespace {

// The backlog of connections that wait for accept; the kernel limits it to net.core.somaxconn.
constexpr int kBacklog = 4096;
// Limits the connections accepted in one go, so that ends of connections are noticed during a
// flood.
constexpr int kAcceptedAtOnceMax = 64;
// How long to back off while there is no room; retrying at once would only use CPU.
constexpr absl::Duration kPause = absl::Milliseconds(5);
constexpr absl::Duration kLossesInterval = absl::Minutes(1);

// Ages and pauses use the machine's clock, whatever clock the store has.
absl::Duration SteadyNow() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

bool IsWildcard(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    return reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr == htonl(INADDR_ANY);
  }
  return IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

Descriptor Duplicate(int descriptor) { return Descriptor(fcntl(descriptor, F_DUPFD_CLOEXEC, 0)); }

int PortOf(const Descriptor& socket) {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  // sin_port has the same offset in both families.
  return ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

// TLS clients send first: the kernel holds a connection back until its first byte, or drops it
// after this time.
constexpr int kSilentSecondsMax = 10;

// Returns no descriptor and sets errno if it cannot listen. `port` is used if the address has none.
Descriptor ListenOn(const sockaddr* address, socklen_t size, int port) {
  sockaddr_storage bound = {};
  memcpy(&bound, address, size);
  auto& bound_port = reinterpret_cast<sockaddr_in*>(&bound)->sin_port;
  if (bound_port == 0) bound_port = htons(static_cast<uint16_t>(port));
  Descriptor socket(
      ::socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (socket.get() < 0) return Descriptor();
  const int on = 1;
  const int off = 0;
  // SO_REUSEADDR: a restart must not wait for TIME_WAIT of the previous connections. TCP_NODELAY is
  // inherited by accepted sockets.
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(socket.get(), IPPROTO_TCP, TCP_DEFER_ACCEPT, &kSilentSecondsMax,
             sizeof kSilentSecondsMax);
  if (address->sa_family == AF_INET6) {
    setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, IsWildcard(address) ? &off : &on,
               sizeof on);
  }
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&bound), size) != 0 ||
      listen(socket.get(), kBacklog) != 0) {
    return Descriptor();
  }
  return socket;
}

// Listens with one socket for both families if there is IPv6.
Descriptor ListenOnWildcard(int port) {
  sockaddr_in6 any = {};
  any.sin6_family = AF_INET6;
  any.sin6_addr = in6addr_any;
  Descriptor socket = ListenOn(reinterpret_cast<const sockaddr*>(&any), sizeof any, port);
  if (socket.get() >= 0 || errno == EADDRINUSE) return socket;
  sockaddr_in any4 = {};
  any4.sin_family = AF_INET;
  return ListenOn(reinterpret_cast<const sockaddr*>(&any4), sizeof any4, port);
}

ConnectionPeer PeerV4(const in_addr& address, in_port_t port) {
  std::array<char, INET_ADDRSTRLEN> text = {};
  inet_ntop(AF_INET, &address, text.data(), text.size());
  return {.address = text.data(), .name = absl::StrCat("ipv4:", text.data(), ":", ntohs(port))};
}

ConnectionPeer PeerV6(const sockaddr_in6& address) {
  const in6_addr& bytes = address.sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&bytes)) {
    in_addr v4 = {};
    memcpy(&v4, bytes.s6_addr + 12, sizeof v4);
    return PeerV4(v4, address.sin6_port);
  }
  std::array<char, INET6_ADDRSTRLEN> text = {};
  inet_ntop(AF_INET6, &bytes, text.data(), text.size());
  // The owner of one IPv6 address usually has its whole /64.
  return {.address = std::string(reinterpret_cast<const char*>(bytes.s6_addr), 8),
          .name = absl::StrCat("ipv6:%5B", text.data(), "%5D:", ntohs(address.sin6_port))};
}

}  // namespace

Descriptor::~Descriptor() {
  if (number_ >= 0) close(number_);
}

ConnectionPeer PeerOf(int socket) {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return PeerV4(v4.sin_addr, v4.sin_port);
  }
  return PeerV6(reinterpret_cast<const sockaddr_in6&>(address));
}

absl::StatusOr<std::unique_ptr<ConnectionListener>> ConnectionListener::Open(
    const std::string& address) {
  auto listener = std::unique_ptr<ConnectionListener>(new ConnectionListener);
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (!host.empty() && host.front() == '[') host = host.substr(1, host.size() - 2);
  const absl::Status status = listener->Listen(host, address.substr(colon + 1));
  if (status.ok()) return listener;
  return absl::FailedPreconditionError(
      absl::StrCat("server.listen is ", address, ", cannot listen on it: ", status.message()));
}

absl::Status ConnectionListener::Listen(const std::string& host, const std::string& port) {
  addrinfo hints = {};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return absl::NotFoundError(gai_strerror(error));
  }
  const AddressList addresses(found, &freeaddrinfo);
  int error = 0;
  for (const addrinfo* each = addresses.get(); each != nullptr; each = each->ai_next) {
    int requested = port_;
    if (requested == 0 && !absl::SimpleAtoi(port, &requested)) break;
    Descriptor socket = IsWildcard(each->ai_addr)
                            ? ListenOnWildcard(requested)
                            : ListenOn(each->ai_addr, each->ai_addrlen, requested);
    if (socket.get() < 0) {
      error = errno;
      // Another server may be listening on some of the addresses.
      if (error == EADDRINUSE) break;
      continue;
    }
    port_ = PortOf(socket);
    listening_.push_back(std::move(socket));
    error = 0;
  }
  if (!listening_.empty() && error != EADDRINUSE) return absl::OkStatus();
  listening_.clear();
  return absl::UnavailableError(error == 0 ? "the name has no address" : strerrordesc_np(error));
}

ConnectionListener::~ConnectionListener() {
  Stop();
  while (!connections_.empty()) Forget(*connections_.begin());
}

void ConnectionListener::CutAll() {
  for (const int connection : connections_) shutdown(connection, SHUT_RDWR);
}

void ConnectionListener::Start(ConnectionTable* table, int descriptor_end, HandOver hand_over,
                               Log* log) {
  table_ = table;
  descriptor_end_ = descriptor_end;
  hand_over_ = std::move(hand_over);
  log_ = log;
  stop_ = Descriptor(eventfd(0, EFD_CLOEXEC));
  epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
  Check(stop_.get() >= 0 && epoll_.get() >= 0, "the listener gets its descriptors");
  epoll_event event = {.events = EPOLLIN, .data = {.fd = stop_.get()}};
  Check(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stop_.get(), &event) == 0, "epoll takes an eventfd");
  for (const Descriptor& socket : listening_) {
    event.data.fd = socket.get();
    Check(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket.get(), &event) == 0,
          "epoll takes a listening socket");
  }
  thread_ = std::thread([this] { Run(); });
}

void ConnectionListener::Stop() {
  if (thread_.joinable()) {
    Check(eventfd_write(stop_.get(), 1) == 0, "the listener can be told to stop");
    thread_.join();
  }
  listening_.clear();
}

void ConnectionListener::Run() {
  std::array<epoll_event, 256> events;
  while (true) {
    const absl::Duration pause = accepting_ ? absl::InfiniteDuration() : resume_at_ - SteadyNow();
    const int timeout_ms =
        accepting_ ? -1 : static_cast<int>(absl::ToInt64Milliseconds(std::max(pause, {}))) + 1;
    const int count = epoll_wait(epoll_.get(), events.data(), events.size(), timeout_ms);
    // Handle ends first: an accepted connection may get the number of one that has ended.
    for (int i = 0; i < count; ++i) {
      if (connections_.contains(events[i].data.fd)) Forget(events[i].data.fd);
    }
    if (!accepting_ && SteadyNow() >= resume_at_) TryAgain();
    for (int i = 0; i < count; ++i) {
      if (events[i].data.fd == stop_.get()) {
        waiting_ = Descriptor();
        return;
      }
      for (const Descriptor& socket : listening_) {
        if (events[i].data.fd == socket.get()) AcceptFrom(socket.get());
      }
    }
    WriteLosses();
  }
}

void ConnectionListener::AcceptFrom(int listening) {
  for (int i = 0; i < kAcceptedAtOnceMax && accepting_; ++i) {
    if (!AcceptOne(listening)) return;
  }
}

bool ConnectionListener::AcceptOne(int listening) {
  Descriptor connection(accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (connection.get() < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
    if (errno == ECONNABORTED || errno == EINTR) return true;
    // Usually because descriptors or memory are exhausted.
    ++losses_.failed;
    PauseAccepting();
    return false;
  }
  if (TakeIn(listening, &connection)) return true;
  waiting_ = std::move(connection);
  waiting_from_ = listening;
  PauseAccepting();
  return false;
}

bool ConnectionListener::TakeIn(int listening, Descriptor* connection) {
  const ConnectionPeer peer = PeerOf(connection->get());
  if (peer.name.empty()) return true;
  // Lower numbers may have become free in the meantime.
  if (connection->get() >= descriptor_end_) *connection = Duplicate(connection->get());
  Descriptor second = Duplicate(connection->get());
  if (second.get() < 0 || std::max(second.get(), connection->get()) >= descriptor_end_) {
    Evict(table_->Evict(SteadyNow()));
    return connection->get() < 0;
  }
  const ConnectionTable::Verdict verdict = table_->Admit(second.get(), peer, SteadyNow());
  Evict(verdict.evicted);
  if (verdict.decision == ConnectionTable::Decision::kLater) return false;
  epoll_event event = {.events = 0, .data = {.fd = second.get()}};
  if (verdict.decision == ConnectionTable::Decision::kRefused ||
      epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, second.get(), &event) != 0) {
    table_->Remove(second.get());
    ++losses_.refused;
    return true;
  }
  connections_.insert(second.Release());
  hand_over_(listening, connection->Release(), peer);
  return true;
}

void ConnectionListener::Evict(int descriptor) {
  if (descriptor == ConnectionTable::kNone) return;
  ++losses_.evicted;
  // gRPC sees the end of the connection and closes its own descriptor.
  shutdown(descriptor, SHUT_RDWR);
  Forget(descriptor);
}

void ConnectionListener::Forget(int descriptor) {
  table_->Remove(descriptor);
  connections_.erase(descriptor);
  // gRPC's descriptor may keep the socket open, and then epoll would still report it.
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, descriptor, nullptr);
  close(descriptor);
}

void ConnectionListener::PauseAccepting() {
  accepting_ = false;
  resume_at_ = SteadyNow() + kPause;
  for (const Descriptor& socket : listening_) {
    epoll_event event = {.events = 0, .data = {.fd = socket.get()}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, socket.get(), &event);
  }
}

void ConnectionListener::TryAgain() {
  if (waiting_.get() >= 0) {
    Descriptor connection = std::move(waiting_);
    if (!TakeIn(waiting_from_, &connection)) {
      waiting_ = std::move(connection);
      resume_at_ = SteadyNow() + kPause;
      return;
    }
  }
  accepting_ = true;
  for (const Descriptor& socket : listening_) {
    epoll_event event = {.events = EPOLLIN, .data = {.fd = socket.get()}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, socket.get(), &event);
  }
}

void ConnectionListener::WriteLosses() {
  if (losses_.refused + losses_.evicted + losses_.failed == 0) return;
  if (SteadyNow() - losses_written_ < kLossesInterval) return;
  log_->Write(Config::LogLevel::kWarning,
              "connections were rejected or closed before their first call: too many connections",
              {{"refused", losses_.refused},
               {"closed", losses_.evicted},
               {"accept_failed", losses_.failed},
               {"in_use", static_cast<int64_t>(table_->proven_count())},
               {"before_first_call", static_cast<int64_t>(table_->unproven_count())}});
  losses_ = Losses();
  losses_written_ = SteadyNow();
}

}  // namespace mayfly
