#include "rpc/connection_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mayfly {
namespace {

// Descriptors reserved for the database, which keeps all of its table files open, and for other
// files: a quarter of the process's limit, and at least this many.
constexpr uint64_t kReservedDescriptorsMin = 256;
constexpr uint64_t kReservedShare = 4;
constexpr uint64_t kDescriptorsMin = 2 * kReservedDescriptorsMin;
// No configurable number of connections needs more.
constexpr uint64_t kDescriptorsMax = uint64_t{1} << 22;
// gRPC's and the listener's duplicate.
constexpr uint64_t kDescriptorsPerConnection = 2;

constexpr uint64_t kUnprovenShare = 3;
constexpr uint64_t kUnprovenMax = 1024;

// One address or one tenant gets at most this share, so that none can take all places.
constexpr uint64_t kOnesShare = 2;

// The minimum time for a client's handshake and first call. If a flood would evict connections
// earlier, new ones wait in the kernel's queue.
constexpr absl::Duration kUnprovenAgeMin = absl::Milliseconds(150);

}  // namespace

absl::StatusOr<ConnectionLimits> ConnectionLimits::For(const Config::Server& config,
                                                       uint64_t descriptors_max) {
  if (descriptors_max < kDescriptorsMin) {
    return absl::FailedPreconditionError(
        absl::StrCat("the process may have ", descriptors_max, " open files, minimum is ",
                     kDescriptorsMin, ": raise its hard limit (LimitNOFILE=, ulimit -n)"));
  }
  const uint64_t descriptors = std::min(descriptors_max, kDescriptorsMax);
  const uint64_t reserved = std::max(descriptors / kReservedShare, kReservedDescriptorsMin);
  const uint64_t room = (descriptors - reserved) / kDescriptorsPerConnection;
  const uint64_t unproven = std::min(room / kUnprovenShare, kUnprovenMax);
  const uint64_t proven = std::min(room - unproven, config.connections_max);
  const uint64_t ones = std::max<uint64_t>(proven / kOnesShare, 1);
  return ConnectionLimits{.proven_max = proven,
                          .unproven_max = unproven,
                          .per_address_max = std::min(config.connections_per_address_max, ones),
                          .per_tenant_max = std::min(config.connections_per_tenant_max, ones),
                          .descriptor_end = static_cast<int>(descriptors - reserved)};
}

std::string ConnectionShortage(const Config::Server& config, const ConnectionLimits& limits,
                               uint64_t descriptors_max) {
  if (limits.proven_max >= config.connections_max) return "";
  // The inverse of For. Up to 2,048 connections the unproven ones are half as many.
  const uint64_t wanted = config.connections_max;
  const uint64_t room = wanted + std::min((wanted + 1) / (kUnprovenShare - 1), kUnprovenMax);
  const uint64_t used = kDescriptorsPerConnection * room;
  const uint64_t needed = std::max(used * kReservedShare / (kReservedShare - 1) + kReservedShare,
                                   used + kReservedDescriptorsMin);
  return absl::StrCat("server.connections_max is ", wanted, ", but a limit of ", descriptors_max,
                      " open files allows ", limits.proven_max,
                      ": raise the hard limit on open files to ", needed,
                      " (LimitNOFILE= in the systemd unit, ulimit -Hn in a shell), or set "
                      "server.connections_max = ",
                      limits.proven_max);
}

ConnectionTable::Verdict ConnectionTable::Admit(int descriptor, const ConnectionPeer& peer,
                                                absl::Duration now) {
  MutexLock lock(&mutex_);
  Verdict verdict;
  const auto count = count_by_address_.find(peer.address);
  if (count != count_by_address_.end() && count->second >= limits_.per_address_max) {
    if (!unproven_.contains(peer.address)) return {.decision = Decision::kRefused};
    verdict.evicted = EvictFrom(peer.address, now);
    if (verdict.evicted == kNone) return {.decision = Decision::kLater};
  } else if (unproven_count_ >= limits_.unproven_max) {
    verdict.evicted = EvictFromLargest(now);
    if (verdict.evicted == kNone) return {.decision = Decision::kLater};
  }
  Insert(descriptor, peer, now);
  return verdict;
}

int ConnectionTable::Evict(absl::Duration now) {
  MutexLock lock(&mutex_);
  return EvictFromLargest(now);
}

void ConnectionTable::Remove(int descriptor) {
  MutexLock lock(&mutex_);
  const auto found = connections_.find(descriptor);
  if (found != connections_.end()) Erase(found);
}

void ConnectionTable::Prove(absl::string_view peer_name, absl::string_view tenant) {
  if (!has_unproven()) return;
  MutexLock lock(&mutex_);
  const auto named = unproven_by_name_.find(peer_name);
  if (named == unproven_by_name_.end()) return;
  if (connections_.size() - unproven_count_ >= limits_.proven_max) return;
  size_t& count = count_by_tenant_[std::string(tenant)];
  if (count >= limits_.per_tenant_max) return;
  ++count;
  const int descriptor = named->second;
  Connection& connection = connections_.at(descriptor);
  LeaveUnproven(descriptor, connection);
  connection.tenant = std::string(tenant);
}

size_t ConnectionTable::proven_count() const {
  MutexLock lock(&mutex_);
  return connections_.size() - unproven_count_;
}

size_t ConnectionTable::unproven_count() const {
  MutexLock lock(&mutex_);
  return unproven_count_;
}

void ConnectionTable::Insert(int descriptor, const ConnectionPeer& peer, absl::Duration now) {
  std::list<int>& unproven = unproven_[peer.address];
  const auto place = unproven.insert(unproven.end(), descriptor);
  connections_[descriptor] = Connection{.peer = peer, .tenant = "", .since = now, .place = place};
  unproven_by_name_[peer.name] = descriptor;
  ++count_by_address_[peer.address];
  ++unproven_count_;
  has_unproven_.store(true, std::memory_order_relaxed);
}

void ConnectionTable::Erase(Connections::iterator found) {
  const auto& [descriptor, connection] = *found;
  if (connection.tenant.empty()) {
    LeaveUnproven(descriptor, connection);
  } else {
    const auto count = count_by_tenant_.find(connection.tenant);
    if (--count->second == 0) count_by_tenant_.erase(count);
  }
  const auto count = count_by_address_.find(connection.peer.address);
  if (--count->second == 0) count_by_address_.erase(count);
  connections_.erase(found);
}

void ConnectionTable::LeaveUnproven(int descriptor, const Connection& connection) {
  const auto unproven = unproven_.find(connection.peer.address);
  unproven->second.erase(connection.place);
  if (unproven->second.empty()) unproven_.erase(unproven);
  // A later connection to another address of this machine may have the same name.
  const auto named = unproven_by_name_.find(connection.peer.name);
  if (named != unproven_by_name_.end() && named->second == descriptor) {
    unproven_by_name_.erase(named);
  }
  --unproven_count_;
  has_unproven_.store(unproven_count_ > 0, std::memory_order_relaxed);
}

int ConnectionTable::EvictFrom(const std::string& address, absl::Duration now) {
  const auto unproven = unproven_.find(address);
  if (unproven == unproven_.end()) return kNone;
  const int oldest = unproven->second.front();
  const auto found = connections_.find(oldest);
  if (now - found->second.since < kUnprovenAgeMin) return kNone;
  Erase(found);
  return oldest;
}

int ConnectionTable::EvictFromLargest(absl::Duration now) {
  const std::string* largest = nullptr;
  size_t count = 0;
  absl::Duration since;
  for (const auto& [address, unproven] : unproven_) {
    const absl::Duration oldest = connections_.at(unproven.front()).since;
    if (unproven.size() < count || (unproven.size() == count && oldest >= since)) continue;
    largest = &address;
    count = unproven.size();
    since = oldest;
  }
  return largest == nullptr ? kNone : EvictFrom(std::string(*largest), now);
}

}  // namespace mayfly
