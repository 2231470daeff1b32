// A ConnectionListener owns the listening sockets and a thread that accepts connections.
//
// gRPC's own listener sets no bound: it takes every connection until the process has no descriptor
// left, then fails whatever opens a file, and never listens again. Here each accepted connection is
// asked of a ConnectionTable first; gRPC gets those that are admitted. Of each the listener keeps a
// second descriptor, by which it notices the end (EPOLLHUP: gRPC shuts a socket down before it
// closes it) and can close the connection.
//
//   Open    binds and listens; clients can connect and wait
//   Start   accepts, until Stop
//   Stop    closes the listening sockets and ends the thread; connections go on
//   CutAll  ends the connections that are left
//
// They belong to one thread at a time.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "rpc/connection_table.h"
#include "rpc/log.h"

namespace mayfly {

// A file descriptor, closed with its owner.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor();

  int get() const { return number_; }
  int Release() { return std::exchange(number_, -1); }

 private:
  int number_;
};

class ConnectionListener {
 public:
  // Takes over an accepted socket, non-blocking and close-on-exec.
  using HandOver = std::function<void(int listening, int connection, const ConnectionPeer& peer)>;

  // Listens on host:port. A name is listened on at all of its addresses that can be; a wildcard
  // takes IPv4 and IPv6. FAILED_PRECONDITION with a sentence for the operator.
  static absl::StatusOr<std::unique_ptr<ConnectionListener>> Open(const std::string& address);
  ~ConnectionListener();

  int port() const { return port_; }

  // All outlive Stop. No connection gets a descriptor of `descriptor_end` or above.
  void Start(ConnectionTable* table, int descriptor_end, HandOver hand_over, Log* log);
  void Stop();
  // After Stop.
  void CutAll();

 private:
  // Why connections did not stay, since the last line in the log.
  struct Losses {
    int64_t refused = 0;  // closed at once
    int64_t evicted = 0;  // closed for a newer one before a first call
    int64_t failed = 0;   // accept failed, for want of descriptors or memory
  };

  ConnectionListener() = default;
  absl::Status Listen(const std::string& host, const std::string& port);

  void Run();
  void AcceptFrom(int listening);
  // False when nothing more can be accepted now.
  bool AcceptOne(int listening);
  // False when `connection` has to wait until others are closed.
  bool TakeIn(int listening, Descriptor* connection);
  void Evict(int descriptor);
  void Forget(int descriptor);
  void PauseAccepting();
  void TryAgain();
  void WriteLosses();

  std::vector<Descriptor> listening_;
  int port_ = 0;

  ConnectionTable* table_ = nullptr;
  int descriptor_end_ = 0;
  HandOver hand_over_;
  Log* log_ = nullptr;
  Descriptor stop_;  // an eventfd, readable when the thread is to end
  std::thread thread_;

  // Of the thread.
  Descriptor epoll_;
  std::unordered_set<int> connections_;  // second descriptors, as in the table
  bool accepting_ = true;
  absl::Duration resume_at_;
  Descriptor waiting_;  // accepted, and to be taken in before any other
  int waiting_from_ = -1;
  Losses losses_;
  absl::Duration losses_written_ = -absl::InfiniteDuration();
};

// As grpc::ServerContext::peer() names the other end of `socket`. The name is empty when that has gone,
// or the descriptor is no socket.
ConnectionPeer PeerOf(int socket);

}  // namespace mayfly
