// OpenCalls tracks the RPCs that hold payloads for their clients, and long-lived RPCs. It ends an
// RPC, whatever its client does, when a payload that it holds has ended or its client's certificate
// is no longer valid.
//
//   held       from before a payload is read until the kernel has accepted it, or the RPC ends
//   ended      by its deadline, an ack, a delete, the sweep or a replacement
//   dropped    the RPC is cancelled with UNAVAILABLE (or UNAUTHENTICATED), and gRPC frees all data
//              that it has not written
//   cut        a write in flight cannot be recalled: when the kernel does not accept it, the
//              connection is cut, with all other calls on it. This does not happen at once, because
//              the socket of a client that reads is also full at times. It happens when the socket
//              has been stalled for a tick, or is full and the write has not ended after kCutTicks
//
// A client may receive a payload and ack or delete it before the server's write callback reports
// that it was sent. So at its end a payload is dropped only if it has been in flight for
// kStaleTicks. A younger one is dropped when it reaches that age and is still held. A payload that
// ends before its reply is written is not sent.
//
// What is held is bounded in bytes, for each connection, each tenant and all together, and taken
// from that before it is read. Memory of what slow readers had is given back to the system, and that
// of calls that clients have reset.
//
// Owns one thread. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include <grpc/grpc.h>

#include "base/mutex.h"
#include "config/config.h"
#include "rpc/connection_cut.h"
#include "rpc/log.h"
#include "rpc/tls_peers.h"
#include "rpc/tls_upkeep.h"
#include "store/call_store.h"
#include "store/leaving_payload.h"

namespace mayfly {

class OpenCalls;

// The entry of one RPC. The store, gRPC and the RPC itself may use it concurrently.
class OpenCall final : public PayloadTaker {
 public:
  enum class Kind {
    kReply,     // one write of all held payloads; nothing is sent before it
    kStream,    // held payloads are in flight
    kDownload,  // payloads are checked before every write; only a write can stall
  };

  OpenCall(OpenCalls* calls, Kind kind) : calls_(calls), kind_(kind) {}
  ~OpenCall() override { Close(); }
  OpenCall(const OpenCall&) = delete;
  OpenCall& operator=(const OpenCall&) = delete;

  // `call` and the data of `chain` must remain valid until Close, and the tenant's account for
  // longer.
  void Open(grpc_call* call, const PeerChain& chain, const Tenant* tenant);
  // Releases everything. Idempotent; nothing can be held afterwards.
  void Close();

  bool Take(const LeavingPayload& payload) override;
  // Also for payloads that were sent.
  void Return(uint64_t generation) override;
  void ExpectEnd(uint64_t generation) override;

  // gRPC is about to write a message. False, for a kReply: a payload has ended in the meantime, and
  // nothing of the reply may be written.
  bool BeginWrite();
  // gRPC has written the message, or lost it with the connection. False: a payload has ended in the
  // meantime, and no more of it may be written.
  bool EndWrite();

 private:
  friend class OpenCalls;
  struct Held {
    uint64_t generation = 0;
    uint64_t bytes = 0;
    int64_t until_ms = 0;
    uint32_t since = 0;  // tick
    bool ended = false;
    bool is_indexed = true;
  };

  OpenCalls* const calls_;
  const Kind kind_;
  std::atomic<uint32_t> written_since_{0};  // tick; 0 while no write is in flight
  std::atomic<bool> has_ended_{false};      // any held payload

  // Guarded by the mutex of calls_.
  grpc_call* call_ = nullptr;  // null if not open
  PeerChain chain_;
  const Tenant* tenant_ = nullptr;
  absl::InlinedVector<Held, 1> held_;
  int64_t until_ms_ = 0;          // a lower bound of the deadlines of all held payloads
  uint32_t cancelled_since_ = 0;  // tick; 0 if not cancelled
  std::string peer_;              // the peer whose connection may be cut
};

class OpenCalls final : public PayloadEndListener {
 public:
  // The text for clients, with UNAVAILABLE.
  static constexpr char kEndedText[] = "a payload of this answer has ended before it was read";
  static constexpr absl::Duration kTick = absl::Milliseconds(100);
  static constexpr uint32_t kStaleTicks = 2;
  // After this many ticks the connection of a cancelled call is cut if it is full and the write in
  // flight has not ended.
  static constexpr uint32_t kCutTicks = 3;
  static constexpr uint32_t kIdentityTicks = 10;
  // When the held bytes are this far below their peak, the freed memory is returned to the system a
  // second later; by then its owners have freed it.
  static constexpr uint64_t kTrimBytesMin = 32 << 20;
  static constexpr uint32_t kTrimTicks = 10;
  // So does the memory of calls that clients have reset, 9 to 15 KiB each, after so many of them. gRPC
  // may need seconds to work off a burst.
  static constexpr uint64_t kTrimResetsMin = 1000;
  static constexpr uint32_t kResetTrimTicks = 50;

  struct Surroundings {
    TlsPeers* peers = nullptr;  // must outlive this object, as must what follows
    TlsUpkeep* tls = nullptr;
    absl::Duration reload_interval;
    std::function<uint64_t()> reset_call_count;     // that clients have reset so far
    std::function<uint64_t()> large_message_bytes;  // received so far
  };

  explicit OpenCalls(const Config::Limits& limits) : limits_(limits) {}
  ~OpenCalls() override { Stop(); }

  void Start(Surroundings surroundings);
  // Checks deadlines against the time of `store` from now on, until Stop.
  void Serve(CallStore* store) { store_.store(store, std::memory_order_release); }
  // Stops watching. Idempotent.
  void Stop() EXCLUDES_LOCK(mutex_);

  void OnPayloadsEnded(absl::Span<const uint64_t> generations) override EXCLUDES_LOCK(mutex_);

 private:
  friend class OpenCall;
  // A call to be cancelled or cut. Holds a reference to it.
  struct Victim {
    grpc_call* call = nullptr;
    OpenCall* open_call = nullptr;  // dangling unless it is still in the table
    PeerChain chain;
  };

  void Open(OpenCall* call) EXCLUDES_LOCK(mutex_);
  void Close(OpenCall* call) EXCLUDES_LOCK(mutex_);
  bool Take(OpenCall* call, const LeavingPayload& payload) EXCLUDES_LOCK(mutex_);
  void Return(OpenCall* call, uint64_t generation) EXCLUDES_LOCK(mutex_);
  void ExpectEnd(OpenCall* call, uint64_t generation) EXCLUDES_LOCK(mutex_);
  bool BeginWrite(OpenCall* call) EXCLUDES_LOCK(mutex_);
  void Forget(OpenCall* call, const OpenCall::Held& held) REQUIRES_LOCK(mutex_);
  void RemoveFromIndex(const OpenCall* call, uint64_t generation) REQUIRES_LOCK(mutex_);

  void Run() EXCLUDES_LOCK(mutex_);
  void Tick() EXCLUDES_LOCK(mutex_);
  void CheckIdentities() EXCLUDES_LOCK(mutex_);
  void DropEnded(int64_t now_ms) EXCLUDES_LOCK(mutex_);
  void CutStalled() EXCLUDES_LOCK(mutex_);
  void GiveBackMemory() EXCLUDES_LOCK(mutex_);
  bool IsStale(const OpenCall& call, const OpenCall::Held& held) const REQUIRES_LOCK(mutex_);
  bool MustDrop(OpenCall* call, int64_t now_ms) REQUIRES_LOCK(mutex_);
  void MarkCancelled(OpenCall* call) REQUIRES_LOCK(mutex_);
  Victim Condemn(OpenCall* call) REQUIRES_LOCK(mutex_);
  static void Cancel(const std::vector<Victim>& victims, absl::StatusCode code,
                     const std::string& text);

  const Config::Limits& limits_;
  Surroundings surroundings_;
  std::atomic<CallStore*> store_{nullptr};
  std::atomic<uint32_t> tick_{1};
  // The number of held payloads; usually 0 unless clients read slowly.
  std::atomic<uint64_t> held_count_{0};

  Mutex mutex_;
  ConditionVariable changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<OpenCall*> calls_ GUARDED_BY(mutex_);
  absl::flat_hash_map<uint64_t, absl::InlinedVector<OpenCall*, 1>> holders_ GUARDED_BY(mutex_);
  uint64_t held_bytes_ GUARDED_BY(mutex_) = 0;
  // A connection is identified by the address at which gRPC keeps its certificate.
  absl::flat_hash_map<const void*, uint64_t> held_by_connection_ GUARDED_BY(mutex_);
  absl::flat_hash_map<const Tenant*, uint64_t> held_by_tenant_ GUARDED_BY(mutex_);
  uint64_t peak_bytes_ GUARDED_BY(mutex_) = 0;  // since memory was given back last
  uint32_t trim_at_ GUARDED_BY(mutex_) = 0;     // tick; 0: not at all
  // Of the thread.
  uint64_t resets_at_trim_ = 0;
  uint64_t received_at_trim_ = 0;
  StallWatch stall_watch_;
  std::thread thread_;
};

}  // namespace mayfly
