// The Server serves gRPC over TLS 1.3: FunctionIo, health, and reflection if configured.
//
//   Start      listens at once; RPCs get STARTING, health is NOT_SERVING
//   Serve      RPCs reach the store, health is SERVING
//   Drain      health is NOT_SERVING; RPCs that would start new work get DRAINING, and open streams
//              end
//   Shutdown   waits for open RPCs up to a timeout, then closes all connections
//
// It owns its threads and connections, but not the store. Call these functions from one thread.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "base/clock.h"
#include "config/config.h"
#include "rpc/admission.h"
#include "rpc/connection_listener.h"
#include "rpc/connection_table.h"
#include "rpc/function_io_service.h"
#include "rpc/in_flight.h"
#include "rpc/log.h"
#include "rpc/open_calls.h"
#include "rpc/open_streams.h"
#include "rpc/tls_files.h"
#include "rpc/tls_peers.h"
#include "rpc/tls_upkeep.h"
#include "store/call_store.h"

namespace mayfly {

// The number of files that this process may have open.
uint64_t OpenFilesMax();

class Server {
 public:
  // Restricts the whole process to TLS 1.3. All arguments must outlive the server.
  // FAILED_PRECONDITION if the certificates or the address are unusable, with a sentence for the
  // operator.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Config& config, Log* log,
                                                       Clock* clock);
  ~Server();

  int port() const { return listener_->port(); }
  // Register this with the store, so that it reports payloads that end.
  PayloadEndListener* payload_ends() { return &open_calls_; }

  // `store` must remain valid until Shutdown returns.
  void Serve(CallStore* store);
  void Drain();
  void Shutdown(absl::Duration timeout);

 private:
  Server(const Config& config, const ConnectionLimits& limits, Log* log, Clock* clock);

  absl::Status WatchCalls(Log* log);
  void SetHealth(bool serving);

  ConnectionTable connections_;
  Admission admission_;
  InFlight in_flight_;
  OpenStreams open_streams_;
  SystemClock certificate_clock_;  // the handshake uses the machine's clock too
  std::unique_ptr<TlsFiles> tls_files_;
  std::unique_ptr<TlsPeers> peers_;
  std::unique_ptr<TlsUpkeep> tls_upkeep_;
  OpenCalls open_calls_;
  FunctionIoService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<ConnectionListener> listener_;
};

}  // namespace mayfly
