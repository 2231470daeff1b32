// A TcpProxy stands between a client and a server on this machine, counts the bytes that pass, and
// breaks connections where a test wants it.
//
//   TcpProxy proxy(server.port());
//   ... the client connects to proxy.port() ...
//   proxy.CutAfter(TcpProxy::kToServer, 4711, TcpProxy::Ending::kReset);
//   ... the 4711th byte from now on is the last one that the connection with it brings ...
//   EXPECT_TRUE(proxy.WaitForCut());
//
// Passes on what comes as it comes, ends included, and keeps at most 64 KiB for each direction of a
// connection. Has one thread. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "support/loopback_socket.h"

struct pollfd;

namespace mayfly {

class TcpProxy {
 public:
  enum Direction { kToServer = 0, kToClient = 1 };
  enum class Ending {
    kFin,    // both sides see an orderly end, after all that has passed
    kReset,  // both sides see a reset, and may lose what has passed but was not read
  };

  explicit TcpProxy(int server_port);
  // Resets what is open.
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  int port() const { return port_; }
  // New connections go there from now on: a server that was started again has another port.
  void SetServerPort(int port) { server_port_ = port; }

  // Over all connections, from the beginning.
  uint64_t PassedBytes(Direction direction) const EXCLUDES_LOCK(mutex_);
  int ConnectionCount() const EXCLUDES_LOCK(mutex_);

  // Ends the connection that brings the `bytes`-th byte of `direction` from now, counted over all
  // connections, right behind that byte; with 0, when there is a byte to pass, before it. What the
  // proxy has got of the other direction is lost. Takes the place of an earlier plan.
  void CutAfter(Direction direction, uint64_t bytes, Ending ending) EXCLUDES_LOCK(mutex_);
  // True once the plan of CutAfter was carried out; false when it was not within 60 s.
  bool WaitForCut() EXCLUDES_LOCK(mutex_);
  // A plan that was not carried out yet.
  bool IsCutPlanned() const EXCLUDES_LOCK(mutex_);
  // Forgets the plan. False when it was carried out before.
  bool CancelCut() EXCLUDES_LOCK(mutex_);
  // Ends all connections there are.
  void CutAll(Ending ending) EXCLUDES_LOCK(mutex_);

  // Passes nothing on in this direction, as a network that has gone quiet, until GoOn. New
  // connections are stalled too.
  void Stall(Direction direction) EXCLUDES_LOCK(mutex_);
  void GoOn() EXCLUDES_LOCK(mutex_);

 private:
  struct Link;
  struct Plan {
    Direction direction = kToServer;
    uint64_t bytes_left = 0;
    Ending ending = Ending::kFin;
  };

  void Run() EXCLUDES_LOCK(mutex_);
  std::vector<pollfd> Interests() const REQUIRES_LOCK(mutex_);
  void Accept() REQUIRES_LOCK(mutex_);
  void Advance(Link* link) REQUIRES_LOCK(mutex_);
  void Receive(Link* link, Direction direction) REQUIRES_LOCK(mutex_);
  void Pass(Link* link, Direction direction) REQUIRES_LOCK(mutex_);
  void Cut(Link* link, Ending ending) REQUIRES_LOCK(mutex_);
  void Wake() const;

  std::atomic<int> server_port_;
  const LoopbackSocket listener_;
  const int port_;
  const int wake_;  // an eventfd

  mutable Mutex mutex_;
  ConditionVariable changed_;
  std::list<std::unique_ptr<Link>> links_ GUARDED_BY(mutex_);
  std::array<uint64_t, 2> passed_bytes_ GUARDED_BY(mutex_) = {};
  std::array<bool, 2> stalled_ GUARDED_BY(mutex_) = {};
  int connection_count_ GUARDED_BY(mutex_) = 0;
  std::optional<Plan> plan_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mayfly
