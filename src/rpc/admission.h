// Admission decides whether an RPC is processed. It checks, in this order: the identity, by a
// certificate that is valid now; the role; whether the server is ready; the batch size; the
// tenant's rate. With this order an unauthorised caller learns nothing about the server's state.
//
// It also holds the pointer to the store, which does not exist while the server is starting.
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/status/statusor.h"
#include <grpcpp/security/auth_context.h>
#include <grpcpp/server_context.h>

#include "base/clock.h"
#include "config/config.h"
#include "identity/identity.h"
#include "rpc/access.h"
#include "rpc/connection_table.h"
#include "rpc/tls_peers.h"
#include "store/call_store.h"

namespace mayfly {

// The identity in the client certificate behind `context`. UNAUTHENTICATED (IDENTITY_INVALID).
absl::StatusOr<Identity> Authenticate(const grpc::AuthContext& context,
                                      absl::string_view trust_domain);

// The certificates behind `context`, which owns them.
PeerChain PeerChainOf(const grpc::AuthContext& context);

// An admitted RPC.
struct Admitted {
  CallStore* store = nullptr;
  Tenant* tenant = nullptr;
  Role role = Role::kClient;
  PeerChain chain;  // valid for the duration of the RPC
};

// PERMISSION_DENIED (ROLE_REQUIRED): `role` may not call `rpc` for payloads of that kind.
absl::Status KindRefusedError(Role role, Rpc rpc, PayloadKind kind);

// The number of items in a request, with the names of their repeated fields.
struct ItemCount {
  absl::string_view field;
  int count = 0;  // 1 .. limits.batch_items_max
  absl::string_view extra_field = {};
  int extra_count = 0;  // 0 .. limits.batch_items_max
};

class Admission {
 public:
  // All must outlive this object.
  Admission(const Config& config, ConnectionTable* connections, Clock* clock)
      : config_(config), connections_(connections), clock_(clock) {}

  // `peers` checks certificates and must outlive this object. Call before the first RPC.
  void set_peers(TlsPeers* peers) { peers_ = peers; }
  // RPCs reach `store` from now on. It must outlive the server.
  void Open(CallStore* store) { store_.store(store, std::memory_order_release); }
  // From now on only RPCs that help to end calls are served (see access.h).
  void Drain() { draining_.store(true, std::memory_order_release); }

  // UNAUTHENTICATED (IDENTITY_INVALID), PERMISSION_DENIED (ROLE_REQUIRED), UNAVAILABLE (STARTING,
  // DRAINING), INVALID_ARGUMENT (FIELD_INVALID) for the number of items, RESOURCE_EXHAUSTED
  // (QUOTA_RATE).
  absl::StatusOr<Admitted> Admit(const grpc::AuthContext& context, Rpc rpc, const ItemCount& items);

  // A request of a caller whose stream was admitted: all but the identity. The same errors.
  absl::Status AdmitRequest(const Admitted& caller, Rpc rpc, const ItemCount& items) const;

  // For RPCs without items, and streams: AdmitCall checks the caller, CheckCount and TakeRate the
  // items of each message of a stream. Admit does both.
  absl::StatusOr<Admitted> AdmitCall(const grpc::AuthContext& context, Rpc rpc);
  // INVALID_ARGUMENT (FIELD_INVALID) for more than limits.batch_items_max.
  absl::Status CheckCount(absl::string_view field, int count, int count_min = 0) const;
  // RESOURCE_EXHAUSTED (QUOTA_RATE), with the delay after which to retry.
  absl::Status TakeRate(Tenant* tenant, int64_t item_count) const;

  // Records that an RPC of `tenant` was admitted. From now on its connection is never evicted.
  void ProveConnection(const grpc::ServerContextBase& context, const Tenant& tenant) {
    if (connections_->has_unproven()) connections_->Prove(context.peer(), tenant.name);
  }

 private:
  struct Caller {
    Identity identity;
    CallStore* store = nullptr;
    PeerChain chain;
  };
  absl::Status CheckDrain(Rpc rpc) const;
  absl::Status CheckCounts(const ItemCount& items) const;
  absl::StatusOr<Caller> AdmitCaller(const grpc::AuthContext& context, Rpc rpc) const;
  absl::StatusOr<Admitted> ResolveTenant(const Caller& caller) const;

  const Config& config_;
  ConnectionTable* const connections_;
  Clock* const clock_;
  TlsPeers* peers_ = nullptr;
  std::atomic<CallStore*> store_{nullptr};
  std::atomic<bool> draining_{false};
};

}  // namespace mayfly
