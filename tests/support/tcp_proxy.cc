#include "support/tcp_proxy.h"

#include <errno.h>
#include <poll.h>
#include <string>
#include <unistd.h>

#include "absl/time/clock.h"
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/check.h"

namespace mayfly {
namespace {

constexpr size_t kBufferBytes = 64 << 10;
constexpr absl::Duration kCutTimeout = absl::Seconds(60);

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

// Two sockets, and what came from the one and has not gone to the other.
struct TcpProxy::Link {
  struct Flow {
    std::string buffer;
    bool ended = false;   // nothing more will come
    bool passed = false;  // ... and the receiver was told
  };

  // The socket that a flow comes from, and the one it goes to.
  LoopbackSocket& Source(Direction direction) { return sockets[direction]; }
  LoopbackSocket& Sink(Direction direction) { return sockets[1 - direction]; }

  std::array<LoopbackSocket, 2> sockets;  // the client's, the server's
  std::array<Flow, 2> flows;
  bool cut = false;   // what still comes is thrown away
  bool dead = false;  // to be forgotten
};

TcpProxy::TcpProxy(int server_port)
    : server_port_(server_port),
      listener_(LoopbackSocket::Listen()),
      port_(listener_.port()),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  Check(wake_ >= 0, "an eventfd can be made");
  listener_.MakeNonBlocking();
  thread_ = std::thread([this] { Run(); });
}

TcpProxy::~TcpProxy() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  Wake();
  thread_.join();
  close(wake_);
}

uint64_t TcpProxy::PassedBytes(Direction direction) const {
  MutexLock lock(&mutex_);
  return passed_bytes_[direction];
}

int TcpProxy::ConnectionCount() const {
  MutexLock lock(&mutex_);
  return connection_count_;
}

void TcpProxy::CutAfter(Direction direction, uint64_t bytes, Ending ending) {
  MutexLock lock(&mutex_);
  plan_ = Plan{.direction = direction, .bytes_left = bytes, .ending = ending};
}

bool TcpProxy::WaitForCut() {
  const absl::Time end = absl::Now() + kCutTimeout;
  MutexLock lock(&mutex_);
  while (plan_.has_value() && absl::Now() < end) changed_.WaitFor(&mutex_, end - absl::Now());
  return !plan_.has_value();
}

bool TcpProxy::IsCutPlanned() const {
  MutexLock lock(&mutex_);
  return plan_.has_value();
}

bool TcpProxy::CancelCut() {
  MutexLock lock(&mutex_);
  const bool pending = plan_.has_value();
  plan_.reset();
  return pending;
}

void TcpProxy::CutAll(Ending ending) {
  MutexLock lock(&mutex_);
  for (const auto& link : links_) Cut(link.get(), ending);
  Wake();
}

void TcpProxy::Stall(Direction direction) {
  MutexLock lock(&mutex_);
  stalled_[direction] = true;
  Wake();
}

void TcpProxy::GoOn() {
  MutexLock lock(&mutex_);
  stalled_ = {};
  Wake();
}

void TcpProxy::Wake() const {
  const uint64_t one = 1;
  Check(write(wake_, &one, sizeof one) == sizeof one, "the proxy can be woken");
}

void TcpProxy::Run() {
  std::vector<pollfd> interests;
  while (true) {
    {
      MutexLock lock(&mutex_);
      if (stopping_) break;
      interests = Interests();
    }
    Check(poll(interests.data(), interests.size(), /*timeout=*/-1) >= 0 || errno == EINTR,
          "sockets can be waited for");
    uint64_t wakes = 0;
    Check(read(wake_, &wakes, sizeof wakes) > 0 || WouldBlock(), "a wake can be taken");
    MutexLock lock(&mutex_);
    Accept();
    for (const auto& link : links_) Advance(link.get());
    links_.remove_if([](const auto& link) { return link->dead; });
  }
  MutexLock lock(&mutex_);
  for (const auto& link : links_) Cut(link.get(), Ending::kReset);
  links_.clear();
}

std::vector<pollfd> TcpProxy::Interests() const {
  std::vector<pollfd> interests = {{.fd = wake_, .events = POLLIN},
                                   {.fd = listener_.descriptor(), .events = POLLIN}};
  for (const auto& link : links_) {
    std::array<short, 2> events = {};
    for (const Direction direction : {kToServer, kToClient}) {
      const Link::Flow& flow = link->flows[direction];
      const bool stalled = stalled_[direction] && !link->cut;
      if (!flow.ended && !stalled && flow.buffer.empty()) events[direction] |= POLLIN;
      if (!stalled && !flow.buffer.empty()) events[1 - direction] |= POLLOUT;
    }
    for (int i = 0; i < 2; ++i) {
      // Without interest not even in errors: a stalled network does not tell of them.
      if (events[i] != 0) {
        interests.push_back({.fd = link->sockets[i].descriptor(), .events = events[i]});
      }
    }
  }
  return interests;
}

void TcpProxy::Accept() {
  while (true) {
    auto link = std::make_unique<Link>();
    link->sockets[0] = listener_.Accept();
    if (!link->sockets[0].is_open()) return;
    ++connection_count_;
    link->sockets[1] = LoopbackSocket::Connect(server_port_);
    if (!link->sockets[1].is_open()) {
      link->sockets[0].Reset();
      continue;
    }
    for (const LoopbackSocket& socket : link->sockets) socket.MakeNonBlocking();
    links_.push_back(std::move(link));
  }
}

void TcpProxy::Advance(Link* link) {
  for (const Direction direction : {kToServer, kToClient}) {
    if (stalled_[direction] && !link->cut) continue;
    if (!link->dead) Receive(link, direction);
    if (!link->dead) Pass(link, direction);
  }
  if (link->flows[kToServer].passed && link->flows[kToClient].passed) link->dead = true;
}

void TcpProxy::Receive(Link* link, Direction direction) {
  Link::Flow& flow = link->flows[direction];
  if (flow.ended || !flow.buffer.empty()) return;
  flow.buffer.resize(kBufferBytes);
  const ssize_t count =
      recv(link->Source(direction).descriptor(), flow.buffer.data(), flow.buffer.size(), 0);
  const bool failed = count < 0 && !WouldBlock();
  flow.buffer.resize(count > 0 ? static_cast<size_t>(count) : 0);
  if (count == 0) flow.ended = true;
  if (failed) Cut(link, Ending::kReset);
}

void TcpProxy::Pass(Link* link, Direction direction) {
  Link::Flow& flow = link->flows[direction];
  if (link->cut) flow.buffer.clear();
  if (!flow.buffer.empty()) {
    size_t size = flow.buffer.size();
    const bool planned = plan_.has_value() && plan_->direction == direction;
    if (planned) size = std::min<uint64_t>(size, plan_->bytes_left);
    const ssize_t count =
        send(link->Sink(direction).descriptor(), flow.buffer.data(), size, MSG_NOSIGNAL);
    if (count < 0 && !WouldBlock()) return Cut(link, Ending::kReset);
    const size_t passed = count > 0 ? static_cast<size_t>(count) : 0;
    flow.buffer.erase(0, passed);
    passed_bytes_[direction] += passed;
    if (planned && (plan_->bytes_left -= passed) == 0) {
      Cut(link, plan_->ending);
      plan_.reset();
      changed_.NotifyAll();
      return;
    }
  }
  if (!flow.ended || !flow.buffer.empty() || flow.passed) return;
  flow.passed = true;
  link->Sink(direction).EndSending();
}

void TcpProxy::Cut(Link* link, Ending ending) {
  if (link->dead) return;
  if (ending == Ending::kReset) {
    for (LoopbackSocket& socket : link->sockets) socket.Reset();
    link->dead = true;
    return;
  }
  // Not closed: with something unread that would be a reset.
  for (const LoopbackSocket& socket : link->sockets) socket.EndSending();
  link->cut = true;
}

}  // namespace mayfly
