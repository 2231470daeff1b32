// A ConnectionTable tracks every open connection and decides which connections are admitted.
//
// A connection is *unproven* until an RPC on it is admitted, that is, until its client has used a
// tenant's certificate. Anybody on the network can open unproven connections, so their number is
// bounded. At the limit a new connection is admitted and an older unproven one evicted, the oldest
// of the address that has most of them. A proven connection is never evicted.
//
// Connections are identified by their descriptors, which the table does not use otherwise.
// Thread-safe.
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
  // No connection may have a descriptor with this number or a higher one. The kernel allocates the
  // lowest free number, so the higher ones always remain free for files.
  int descriptor_end = 0;

  // The configured limits, reduced to what a process with `descriptors_max` open files can support.
  // One address or one tenant gets at most half of the places. FAILED_PRECONDITION if the limit on
  // open files is too low to serve.
  static absl::StatusOr<ConnectionLimits> For(const Config::Server& config,
                                              uint64_t descriptors_max);
};

// Says which limit to raise when `limits`, which For returned, are below server.connections_max;
// empty when they are not.
std::string ConnectionShortage(const Config::Server& config, const ConnectionLimits& limits,
                               uint64_t descriptors_max);

// The other end of a connection.
struct ConnectionPeer {
  std::string address;  // the unit of the limit: an IPv4 address, or the /64 of an IPv6 one
  std::string name;     // from grpc::ServerContext::peer()
};

class ConnectionTable {
 public:
  static constexpr int kNone = -1;

  enum class Decision {
    kAdmitted,
    kRefused,  // its address is at its limit, with proven connections only
    kLater,    // unproven connections are at their limit, and each is too young to be evicted
  };
  struct Verdict {
    Decision decision = Decision::kAdmitted;
    int evicted = kNone;  // removed from the table; the caller closes it
  };

  explicit ConnectionTable(const ConnectionLimits& limits) : limits_(limits) {}

  // Decides about a new connection at `now`. Its descriptor must not be in the table.
  Verdict Admit(int descriptor, const ConnectionPeer& peer, absl::Duration now)
      EXCLUDES_LOCK(mutex_);
  // Removes the oldest unproven connection of the address that has most, so that descriptors become
  // free. Returns kNone if none is old enough.
  int Evict(absl::Duration now) EXCLUDES_LOCK(mutex_);
  // The connection was closed. No effect if it is not in the table.
  void Remove(int descriptor) EXCLUDES_LOCK(mutex_);

  // An RPC of `tenant` was admitted on this connection. The connection stays unproven while the
  // tenant, or all tenants together, are at their limit. Cheap if no connection is unproven.
  void Prove(absl::string_view peer_name, absl::string_view tenant) EXCLUDES_LOCK(mutex_);
  bool has_unproven() const { return has_unproven_.load(std::memory_order_relaxed); }

  size_t proven_count() const EXCLUDES_LOCK(mutex_);
  size_t unproven_count() const EXCLUDES_LOCK(mutex_);

 private:
  struct Connection {
    ConnectionPeer peer;
    std::string tenant;  // empty while unproven
    absl::Duration since;
    std::list<int>::iterator place;  // in unproven_, while unproven
  };
  using Connections = std::unordered_map<int, Connection>;

  void Insert(int descriptor, const ConnectionPeer& peer, absl::Duration now) REQUIRES_LOCK(mutex_);
  void Erase(Connections::iterator connection) REQUIRES_LOCK(mutex_);
  void LeaveUnproven(int descriptor, const Connection& connection) REQUIRES_LOCK(mutex_);
  // Removes and returns the oldest unproven connection of `address`; kNone if there is none or it
  // is too young.
  int EvictFrom(const std::string& address, absl::Duration now) REQUIRES_LOCK(mutex_);
  int EvictFromLargest(absl::Duration now) REQUIRES_LOCK(mutex_);

  const ConnectionLimits limits_;
  mutable Mutex mutex_;
  Connections connections_ GUARDED_BY(mutex_);
  std::unordered_map<std::string, size_t> count_by_address_ GUARDED_BY(mutex_);
  std::map<std::string, size_t, std::less<>> count_by_tenant_ GUARDED_BY(mutex_);
  // By address, oldest first; no list is empty.
  std::unordered_map<std::string, std::list<int>> unproven_ GUARDED_BY(mutex_);
  std::map<std::string, int, std::less<>> unproven_by_name_ GUARDED_BY(mutex_);
  size_t unproven_count_ GUARDED_BY(mutex_) = 0;
  std::atomic<bool> has_unproven_{false};
};

}  // namespace mayfly
