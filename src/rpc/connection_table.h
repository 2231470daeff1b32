// A ConnectionTable knows every open connection and decides which may exist.
//
// A connection is *unproven* until an RPC on it was admitted, that is until its client has shown a
// certificate of a tenant and used it. Anybody on the network can make unproven connections, so
// their number is bounded, and under pressure they make room for each other: a new connection is let
// in and an older unproven one closed, taken from the address that has most of them. A proven
// connection is never closed for another one.
//
// Connections are named by a descriptor, but the table does not touch it. Thread-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <list>
#include <map>
#include <string>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "config/config.h"

namespace mayfly {

struct ConnectionLimits {
  size_t proven_max = 0;
  size_t unproven_max = 0;
  size_t per_address_max = 0;  // proven and unproven ones
  size_t per_tenant_max = 0;   // proven ones
  // No connection may have a descriptor of this number or a higher one. Descriptors are given out
  // from the lowest, so those above are always free for files, whoever uses those below.
  int descriptor_end = 0;

  // The limits in the configuration, as far as a process that may have `descriptors_max` open files
  // can keep them. One address or one tenant has half of the places at most. FAILED_PRECONDITION when
  // the open files are too few to serve.
  static absl::StatusOr<ConnectionLimits> For(const Config::Server& config,
                                              uint64_t descriptors_max);
};

// The other end of a connection.
struct ConnectionPeer {
  std::string address;  // what counts as one address: an IPv4 address, or the /64 of an IPv6 one
  std::string name;     // as grpc::ServerContext::peer() gives it
};

class ConnectionTable {
 public:
  static constexpr int kNone = -1;

  enum class Decision {
    kAdmitted,
    kRefused,  // its address has its maximum, all of them proven
    kLater,    // unproven connections have their maximum, and each is too young to be closed
  };
  struct Verdict {
    Decision decision = Decision::kAdmitted;
    int evicted = kNone;  // has left the table; the caller closes it
  };

  explicit ConnectionTable(const ConnectionLimits& limits) : limits_(limits) {}

  // A new connection asks to be let in at `now`. Its descriptor is not in the table.
  Verdict Admit(int descriptor, const ConnectionPeer& peer, absl::Duration now)
      EXCLUDES_LOCK(mutex_);
  // Takes out the oldest unproven connection of the address that has most, so that descriptors
  // become free. kNone when there is none that is old enough.
  int Evict(absl::Duration now) EXCLUDES_LOCK(mutex_);
  // It is closed. Nothing happens when it is not in the table.
  void Remove(int descriptor) EXCLUDES_LOCK(mutex_);

  // An RPC of `tenant` came on this connection and was admitted. The connection stays unproven
  // while the tenant has its maximum, or all together have theirs. Cheap when nothing is unproven.
  void Prove(absl::string_view peer_name, absl::string_view tenant) EXCLUDES_LOCK(mutex_);
  bool has_unproven() const { return has_unproven_.load(std::memory_order_relaxed); }

  size_t proven_count() const EXCLUDES_LOCK(mutex_);
  size_t unproven_count() const EXCLUDES_LOCK(mutex_);

 private:
  struct Connection {
    ConnectionPeer peer;
    std::string tenant;  // empty while it is unproven
    absl::Duration since;
    std::list<int>::iterator place;  // in unproven_, while it is unproven
  };
  using Connections = std::unordered_map<int, Connection>;

  void Insert(int descriptor, const ConnectionPeer& peer, absl::Duration now) REQUIRES_LOCK(mutex_);
  void Erase(Connections::iterator connection) REQUIRES_LOCK(mutex_);
  void LeaveUnproven(int descriptor, const Connection& connection) REQUIRES_LOCK(mutex_);
  // The oldest unproven connection. kNone when there is none, or it is too young.
  int EvictFrom(const std::string& address, absl::Duration now) REQUIRES_LOCK(mutex_);
  int EvictFromLargest(absl::Duration now) REQUIRES_LOCK(mutex_);

  const ConnectionLimits limits_;
  mutable Mutex mutex_;
  Connections connections_ GUARDED_BY(mutex_);
  std::unordered_map<std::string, size_t> count_by_address_ GUARDED_BY(mutex_);
  std::map<std::string, size_t, std::less<>> count_by_tenant_ GUARDED_BY(mutex_);
  // By address, the oldest first; no list is empty.
  std::unordered_map<std::string, std::list<int>> unproven_ GUARDED_BY(mutex_);
  std::map<std::string, int, std::less<>> unproven_by_name_ GUARDED_BY(mutex_);
  size_t unproven_count_ GUARDED_BY(mutex_) = 0;
  std::atomic<bool> has_unproven_{false};
};

}  // namespace mayfly
