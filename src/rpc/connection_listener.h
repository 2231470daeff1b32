// A ConnectionListener owns the listening sockets and a thread that accepts connections.
//
// gRPC's own listener has no limit: it accepts connections until the process has no descriptor
// left. Then every open of a file fails, and gRPC never listens again. This listener asks a
// ConnectionTable about each accepted connection and passes the admitted ones to gRPC. It keeps a
// second descriptor of each, to notice its end (EPOLLHUP: gRPC shuts a socket down before it closes
// it) and to close the connection if necessary.
//
//   Open    binds and listens; connections wait in the kernel
//   Start   accepts connections until Stop
//   Stop    closes the listening sockets and ends the thread; connections stay open
//   CutAll  closes the remaining connections
//
// Call these from one thread at a time.
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

// Owns a file descriptor.
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

  // Listens on host:port. For a host name it listens on every address that it can bind; a wildcard
  // covers IPv4 and IPv6. FAILED_PRECONDITION with a sentence for the operator.
  static absl::StatusOr<std::unique_ptr<ConnectionListener>> Open(const std::string& address);
  ~ConnectionListener();

  int port() const { return port_; }

  // All must remain valid until Stop. No connection gets a descriptor of `descriptor_end` or above.
  void Start(ConnectionTable* table, int descriptor_end, HandOver hand_over, Log* log);
  void Stop();
  // Call after Stop.
  void CutAll();

 private:
  // Connections that were not kept, by reason, since the last log line about them.
  struct Losses {
    int64_t refused = 0;  // closed at once
    int64_t evicted = 0;  // closed for a newer one before a first call
    int64_t failed = 0;   // accept failed: no descriptors or no memory
  };

  ConnectionListener() = default;
  absl::Status Listen(const std::string& host, const std::string& port);

  void Run();
  void AcceptFrom(int listening);
  // Returns false if no further connection can be accepted now.
  bool AcceptOne(int listening);
  // Returns false if `connection` must wait until others are closed.
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
  Descriptor stop_;  // an eventfd that tells the thread to end
  std::thread thread_;

  // Used by the thread only.
  Descriptor epoll_;
  std::unordered_set<int> connections_;  // second descriptors, as in the table
  bool accepting_ = true;
  absl::Duration resume_at_;
  Descriptor waiting_;  // accepted; admitted before any other
  int waiting_from_ = -1;
  Losses losses_;
  absl::Duration losses_written_ = -absl::InfiniteDuration();
};

// The peer of `socket` with the name that grpc::ServerContext::peer() gives it. The name is empty
// if the peer has disconnected or the descriptor is not a socket.
ConnectionPeer PeerOf(int socket);

}  // namespace mayfly
